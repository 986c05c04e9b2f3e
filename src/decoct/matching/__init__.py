"""The numerical core: the gradient of trajectory matching, and the loop that uses it."""
