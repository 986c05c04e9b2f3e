"""What passes between two stages, each one kind of file."""
