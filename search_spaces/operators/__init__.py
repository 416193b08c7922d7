"""The operators that a network executes, read off the model itself."""
