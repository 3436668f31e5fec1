"""Layers that two or more architectures share; one idea a file."""
