"""Tar files of samples: packed, written, indexed, checked, fetched and read."""
