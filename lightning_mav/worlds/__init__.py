"""Worlds to learn from that are rendered here, so that no data need be fetched."""
