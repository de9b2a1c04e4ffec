"""Trains a stage under Lightning: configuration, checkpoints, signals."""
