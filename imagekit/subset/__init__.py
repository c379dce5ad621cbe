"""Subset folders: plan what to take from a source, build it, leave a receipt."""
