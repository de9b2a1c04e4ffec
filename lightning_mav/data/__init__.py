"""Bytes to pixels and back, and tar files of samples."""
