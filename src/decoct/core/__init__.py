"""Infrastructure, independent of distillation: files, checkpoints, seeds, devices, messages."""
