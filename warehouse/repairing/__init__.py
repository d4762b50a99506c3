"""The rules of `warehouse.repair`, by theme, and the edits that they ask for."""
