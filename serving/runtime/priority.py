"""Who goes first when there are more threads than processors: the event loop, not who computes.

A loop that waits for a processor holds up every call, a batch that waits only itself.
"""

import os
import threading
from contextlib import suppress

LOWEST = 19  # by setpriority(2): a sixty-eighth of what the loop would get of a processor


def give_way(nice: int = LOWEST) -> None:
    """For the calling thread, and those that it starts. Linux; elsewhere nothing happens."""
    if hasattr(os, "PRIO_PROCESS"):
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), nice)


def stand_back() -> None:
    """For the calling thread, and those that it starts: they work where nobody else wants to.

    Linux's SCHED_IDLE: a fifth of what the lowest priority would get, and unlike with that, who
    wakes up takes the processor at once.
    """
    give_way()
    if hasattr(os, "SCHED_IDLE"):
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
