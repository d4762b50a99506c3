"""Parts of `benchmarks/dedupe.py`."""
