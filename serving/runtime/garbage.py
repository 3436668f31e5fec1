"""Python's garbage, of which each loaded version leaves some: graphs refer to themselves.

Left to itself, Python collects it once there is a quarter more of everything, in a sweep that
stops all threads, and is long for all that the libraries hold: hence they are set aside.
"""

import gc


def set_aside() -> None:
    """What is in memory now is never looked at again: once, after imports, before any model."""
    gc.collect()
    gc.freeze()


def collect() -> None:
    """What a version left behind that was unloaded or refused. Blocking."""
    gc.collect()
