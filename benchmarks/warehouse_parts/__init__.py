"""Parts of `benchmarks/warehouse.py`."""
