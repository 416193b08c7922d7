"""From a data set's name to batches: sources, splits, decoding, transforms."""
