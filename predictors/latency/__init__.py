"""Latency models: fitted to measured networks, judged on networks left out."""
