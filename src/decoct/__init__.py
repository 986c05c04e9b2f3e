"""decoct boils an unlabelled image data set down to a few images that pre-train good encoders."""

__version__ = "0.1.0"
