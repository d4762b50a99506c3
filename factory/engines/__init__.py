"""Engines: language models that continue token ids. They know nothing of hints and tools."""

import os

# Threads that wait for each other must sleep: spinning, torch's threads take the cores from the sandbox, the checkers
# and whatever else runs (measured with one busy neighbour: 74 tokens/s sleeping, 18 spinning). Read when torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
