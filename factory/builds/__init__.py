"""The builds, one straight function each."""
