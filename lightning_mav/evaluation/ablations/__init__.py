"""Tests claims: trains and samples variants, judges them in the same way and compares the results."""
