"""The run directory: its file names, its records, its checkpoints and its status."""
