"""What knows nothing of distillation: files, checkpoints, seeds, devices, messages."""
