"""What an encoder is worth: probes, intervals, paired comparisons."""
