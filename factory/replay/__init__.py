"""Whether the outputs in a dataset are what its code prints: every block is run again, and what differs gets a class.

`texts` says what counts as the same, `classify` (with `forms`, `evidence` and `experiments`) why something differs,
`rows` runs many rows, `command` reports on a snapshot. `factory.steps.replay` is the step of the builds.
"""
