"""Tar files of samples: written, indexed, checked and read."""
