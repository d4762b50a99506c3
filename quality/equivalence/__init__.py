"""Whether two answers mean the same: read, evaluated and compared by plain means that never run what they read."""
