"""One training run: its configuration, its parts put together, its evaluation."""
