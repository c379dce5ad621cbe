"""Recipes: the tables of datasets.toml, read into frozen dataclasses; an error names its file and its dotted key."""
