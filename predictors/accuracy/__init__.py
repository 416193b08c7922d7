"""Accuracy predictors: what they see, how they are fitted, and which one a search uses."""
