"""What a process does that works beside a server, one job after another: it answers them.

`serving.side_process` starts it, `python -m MODULE NICE PROCESSOR...`, with jobs on standard input
and answers on standard output, each a pickle behind its length. When its input ends, so does it. It
has its priority from its first line on, so that TensorFlow's threads have it too.
"""

import os
import pickle
import struct
import sys
import traceback
from collections.abc import Callable
from typing import Any, BinaryIO

from serving.errors import TriptychError
from serving.lean import leave_out_training
from serving.runtime.affinity import spread
from serving.runtime.priority import LOWEST, give_way, stand_back

OUTPUT, LOG = 1, 2
LENGTH = struct.Struct("<Q")


def answer_jobs(answer: Callable[[Any], Any]) -> None:
    """Until there are no more. What `answer` raises is an answer too: a TriptychError, or else a
    RuntimeError with the traceback, as it is our mistake."""
    # Ctrl-C is the server's. In a session of its own, Linux would give it as much of the processors
    # as the whole server, whatever its priority (sched(7), autogroup).
    os.setpgid(0, 0)
    nice, *processors = map(int, sys.argv[1:])
    spread(set(processors))
    stand_back() if nice == LOWEST else give_way(nice)
    leave_out_training()
    said = os.fdopen(os.dup(OUTPUT), "wb")
    os.dup2(LOG, OUTPUT)  # whatever else is printed
    for job in iter(lambda: _read(sys.stdin.buffer), None):
        said.write(pack(_answer(answer, job)))
        said.flush()


def pack(message: Any) -> bytes:
    body = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return LENGTH.pack(len(body)) + body


def _answer(answer: Callable[[Any], Any], job: Any) -> Any:
    try:
        return answer(job)
    except TriptychError as error:
        return type(error)(str(error))
    except Exception:
        return RuntimeError(traceback.format_exc())


def _read(source: BinaryIO) -> Any:
    """The next one; None at the end, be it in the midst of one."""
    head = source.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    (length,) = LENGTH.unpack(head)
    body = source.read(length)
    return pickle.loads(body) if len(body) == length else None
