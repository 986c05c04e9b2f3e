"""`--log`: what stages write as JSON lines, sets and scores, for the loggers that people use."""
