"""What a candidate will cost and score, without running it."""
