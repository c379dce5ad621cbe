"""Schedules of a hyper-parameter over training, and optimizers by name."""
