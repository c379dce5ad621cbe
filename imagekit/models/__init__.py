"""Models built from named parts: layers, the lessons' CNN, its initialisation, and a registry by name."""
