"""A self-contained HTML page about a run, and tables for the terminal."""
