"""Recipes, their stages, and estimates of what they take."""
