"""Problems that repeat a benchmark item, with evidence: `find` is the way in, one module per method."""
