"""Short trials before a training: the learning rate, time and memory."""
