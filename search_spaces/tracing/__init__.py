"""What any torch model could shrink by, and the smaller networks, found by running the model once."""
