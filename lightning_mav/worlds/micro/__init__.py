"""The micro-world: a renderer of moving shapes, its captions, and detectors that read its videos."""
