"""Tests claims: variants of training and sampling, judged alike."""
