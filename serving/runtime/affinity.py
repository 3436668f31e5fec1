"""Which threads share a processor: those that need the interpreter's lock, as one at a time has it.

On two processors each handing over of the lock would wake a thread on the other one, which takes
longer than what most of them do with it. Where there are more, or fewer are to be used, nothing is
moved: it was measured for two. Linux; elsewhere nothing happens.
"""

import os
import threading
from contextlib import suppress

from serving.runtime.priority import give_way

POLLER = "(_poll_wrapper)"  # of grpc.aio, which starts it
WAITING = "wait"  # of ours, for executors that compute in threads of their own

PROCESSORS = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()

_together: set[int] | None = None


def may_gather(threads: int) -> bool:
    """Args: threads: that may compute; of fewer than all processors others have some, too."""
    return len(PROCESSORS) == 2 and threads >= len(PROCESSORS)


def gather(threads: int) -> None:
    """The calling thread, gRPC's, those that wait, and all that they start, unless they `spread`.

    Only where they `may_gather`.
    """
    global _together
    if not may_gather(threads):
        return
    _together = {min(PROCESSORS)}
    for thread in threading.enumerate():
        is_here = thread is threading.current_thread()
        if is_here or thread.name.endswith(POLLER) or thread.name.startswith(WAITING):
            _move(thread.native_id or 0, _together)


def join() -> None:
    """The calling thread, to those that were gathered."""
    if _together:
        _move(0, _together)


def spread(processors: set[int] | None = None) -> None:
    """The calling thread, and those that it starts, over all processors."""
    if _together or processors:
        _move(0, processors or PROCESSORS)


def give_way_anywhere() -> None:
    """For a thread that computes, or loads."""
    spread()
    give_way()


def _move(thread: int, processors: set[int]) -> None:
    with suppress(OSError):
        os.sched_setaffinity(thread, processors)
