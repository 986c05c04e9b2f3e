"""Networks: a body that computes features, and a linear head."""
