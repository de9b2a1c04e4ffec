"""From bytes of images and videos to pixels, and back: the only part that knows PyAV and Pillow."""
