"""Decodes and encodes images and videos, with PyAV (FFmpeg) and Pillow."""
