"""Parts of `benchmarks/sandbox.py`: what is run, who else runs it, and what is left behind."""
