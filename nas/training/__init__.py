"""Training a supernet: settings, one step, the loop, checkpoints, guards."""
