"""What images show once decoded, and what is odd about it."""
