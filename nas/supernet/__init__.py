"""The supernet's weights: borrowing them, ordering them, and where the first ones come from."""
