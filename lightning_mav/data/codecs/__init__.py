"""Bytes of images and videos to pixels and back, with PyAV (FFmpeg) and Pillow."""
