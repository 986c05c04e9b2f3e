"""Networks that say what an image should be represented as."""
