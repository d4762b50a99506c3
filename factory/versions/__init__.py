"""Versions of a dataset: what changed, where rows come from, going back, making rows again, and what may go."""
