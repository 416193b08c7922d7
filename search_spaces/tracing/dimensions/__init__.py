"""What a dimension of a tensor consists of, and numbers that know it."""
