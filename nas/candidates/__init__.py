"""A candidate as it will be shipped: calibrated, quantized, measured."""
