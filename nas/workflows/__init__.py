"""One function for each verb of a user: train, search, export, evaluate and so on."""
