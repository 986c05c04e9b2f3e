"""Questions asked with whole runs."""
