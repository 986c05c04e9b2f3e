"""Do self-supervised gradients and trajectories vary more than distillation's?"""
