"""Who goes first when there are more threads than processors: the event loop, not who computes.

A loop that waits for a processor holds up every call, a batch that waits only itself.
"""

import os
import threading
from contextlib import suppress

NICE = 10  # computing threads get a ninth of what the loop would, where both want a processor
LOADING_NICE = 19  # and who loads a seventh of what those that compute do: nobody waits for it


def stand_back() -> None:
    """For this process, before it has other threads: it computes where nobody else wants to.

    Linux's SCHED_IDLE: unlike with the lowest priority, who wakes up takes the processor at once.
    """
    give_way(LOADING_NICE)
    if hasattr(os, "SCHED_IDLE"):
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def give_way(nice: int = NICE) -> None:
    """For the calling thread, and those that it starts. Linux; elsewhere nothing happens."""
    if hasattr(os, "PRIO_PROCESS"):
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), nice)
