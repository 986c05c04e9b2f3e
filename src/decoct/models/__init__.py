"""Networks: features, and a linear head on top of them."""
