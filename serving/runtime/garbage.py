"""Python's garbage, of which each loaded version leaves some: graphs refer to themselves.

Left to itself, Python collects it once there is a quarter more of everything, in a sweep that
stops all threads, and is long for all that the libraries hold: hence they are set aside.
"""

import ctypes
import gc
from contextlib import suppress

YOUNG = 10_000  # new objects before they are looked through, not 700: most are of calls in flight


def set_aside() -> None:
    """What is in memory now is never looked at again: once, after imports, before any model."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, *gc.get_threshold()[1:])


def collect() -> None:
    """What a version left behind that was unloaded or refused. Blocking."""
    gc.collect()
    give_back()


def give_back() -> None:
    """To the system, what the libraries have freed: a good part of what a load takes. Blocking."""
    with suppress(OSError, AttributeError):  # another C library than Linux's
        ctypes.CDLL("libc.so.6").malloc_trim(0)
