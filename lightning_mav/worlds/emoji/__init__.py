"""Animated emoji, drawn by Microsoft: captioned stills, fewer clips, and most things never seen moving."""
