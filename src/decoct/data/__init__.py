"""Images at rest, where they come from, and how they are varied."""
