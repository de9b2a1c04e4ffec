"""Measures the applications of a cascade on a world: ``mav evaluate apps``."""
