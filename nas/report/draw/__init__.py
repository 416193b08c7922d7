"""Charts and drawings of the report, as SVG."""
