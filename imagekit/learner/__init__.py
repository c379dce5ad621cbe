"""The training loop and its parts: events, callbacks, the Learner, losses and metrics."""
