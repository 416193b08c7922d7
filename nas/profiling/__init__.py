"""Measuring a device: which networks, the bundle that is copied there, and the fit of what comes back."""
