"""Sampling strategies: which subnets a training step visits, and what each learns from."""
