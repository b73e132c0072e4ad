"""Training of a generator: losses, steps, checkpoints, validation."""
