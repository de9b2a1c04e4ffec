"""Worlds to learn from, which this package renders, so that no data must be fetched."""
