"""The frontier: how accurate an encoder is for the bytes and the gradient steps that it took."""
