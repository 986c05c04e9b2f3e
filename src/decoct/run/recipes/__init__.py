"""Recipes that are shipped, as YAML."""
