"""Programs judged by tests that they never meet: what is expected stays outside of the process that they run in."""
