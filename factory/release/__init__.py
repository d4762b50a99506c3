"""From the warehouse to a dataset that others can use."""
