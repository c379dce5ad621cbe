"""Bytes on disk, no pixels: finding files, reading, hashing and naming them, publishing whole, one writer at a time."""
