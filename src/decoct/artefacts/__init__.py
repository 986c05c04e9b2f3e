"""What stages pass to each other; each artefact has its own kind of file."""
