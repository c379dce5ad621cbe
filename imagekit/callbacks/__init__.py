"""What acts at the moments of the training loop, one file a concern."""
