"""Self-supervised losses."""
