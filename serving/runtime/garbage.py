"""Python's garbage, of which each loaded version leaves some: graphs refer to themselves.

Left to itself, Python collects it once there is a quarter more of everything, libraries included,
in a sweep of 200 ms that stops all threads. Without the libraries that takes 3 ms a model.
"""

import gc


def set_aside() -> None:
    """What is in memory now is never looked at again: once, after imports, before any model."""
    gc.collect()
    gc.freeze()


def collect() -> None:
    """What a version left behind that was unloaded or refused. Blocking."""
    gc.collect()
