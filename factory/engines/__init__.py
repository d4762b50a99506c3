"""Engines: language models that continue token ids. They know nothing of hints and tools."""
