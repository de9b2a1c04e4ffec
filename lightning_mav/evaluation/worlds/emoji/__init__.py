"""Measures what a cascade has learnt of the emoji, with hidden animations and an independent judge."""
