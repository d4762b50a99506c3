"""From a snapshot to what a trainer needs. Makes no data."""
