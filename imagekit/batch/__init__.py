"""Transforms of a whole batch on its device: bytes to floats, one affine map an image, normalising."""
