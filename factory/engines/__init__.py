"""Engines: language models that continue token ids. They know nothing of hints and tools."""

import os

# Torch's threads wait for each other by spinning, for so long that beside one busy neighbour they get almost nothing
# done (LOG.md). A short spin costs nothing on an idle machine. Read when torch loads.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")
