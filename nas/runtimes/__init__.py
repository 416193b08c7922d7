"""Files that devices run: each runtime is a file that writes, opens and times them."""
