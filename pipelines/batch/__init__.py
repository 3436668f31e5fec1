"""Offline inference: a folder or table in, a data set of labels out. docs/batch.md has it all."""
