"""Whether the published reasons hold here: measurements of gradients, trajectories and matching."""
