"""Vary one thing of MKDT at a time, and say what each contributes."""
