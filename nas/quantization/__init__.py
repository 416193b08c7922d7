"""Networks in integers: grids, ranges, correction, the simulator, and training with rounding."""
