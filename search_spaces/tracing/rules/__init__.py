"""What every operator does to dimensions: a file for each kind of operator."""
