"""The search: problem, objectives, acquisition, the loop and its baselines."""
