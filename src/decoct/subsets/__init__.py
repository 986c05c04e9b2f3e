"""Real images with their targets, chosen: the baselines that distillation must beat."""
