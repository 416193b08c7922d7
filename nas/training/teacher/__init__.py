"""A fixed teacher: which network it is, and what it says about the training images."""
