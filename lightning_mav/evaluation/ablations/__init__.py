"""Tests claims: trains and samples variants, judges them alike and compares the results."""
