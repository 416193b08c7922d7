"""What every member of a kind must pass: a new member runs through the kit of its kind."""
