"""Training of networks: teachers, experts, assistants, encoders."""
