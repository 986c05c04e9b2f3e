"""Ways to a small synthetic set."""
