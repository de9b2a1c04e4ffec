"""The micro-world: a renderer of moving shapes, its captions, shards and vocabulary, and detectors."""
