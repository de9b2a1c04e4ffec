"""Training under Lightning: runs, configuration, callbacks, checkpoints, signals."""
