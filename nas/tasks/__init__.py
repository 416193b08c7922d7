"""What a network is for: its loss, its score, its outputs."""
