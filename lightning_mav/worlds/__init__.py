"""Worlds to learn from that are drawn here."""
