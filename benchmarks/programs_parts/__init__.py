"""Parts of `benchmarks/programs.py`: the sets, how programs are spoilt, and what tells two programs apart."""
