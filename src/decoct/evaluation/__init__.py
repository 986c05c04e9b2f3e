"""The quality of encoders: probes, intervals, paired comparisons."""
