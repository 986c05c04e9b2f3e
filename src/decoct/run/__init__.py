"""A recipe, its stages, and what they take."""
