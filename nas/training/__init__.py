"""Training a supernet: settings, one step, the loop, checkpoints, checks of its health."""
