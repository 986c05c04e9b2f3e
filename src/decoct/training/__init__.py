"""Networks in training: teachers, experts, assistants, encoders."""
