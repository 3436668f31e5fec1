"""Experiments: one function each, whose docstring has its command."""
