"""A process that computes rows for another: `python -m pipelines.batch.worker_process FD...`

`processes.py` starts it. Over the first connection comes what it opens, and then over each of them
tables, each answered by its rows and the seconds that they took, or by what went wrong. When the
other end closes, so does it.
"""

import sys
import threading
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from pipelines.batch.errors import BatchError
from serving.lean import leave_out_training

if TYPE_CHECKING:
    from pipelines.batch.predictor import Predictor


def main() -> None:
    connections = [Connection(int(number)) for number in sys.argv[1:]]
    leave_out_training()
    from pipelines.batch.local import open_predictor

    with suppress(EOFError, OSError):  # the other one has ended
        job, folder = connections[0].recv()
        try:
            predictor = open_predictor(job, folder, job.machine.threads)
        except BatchError as error:
            connections[0].send(error)
            return
        connections[0].send(None)
        threads = [threading.Thread(target=_serve, args=(predictor, c)) for c in connections]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def _serve(predictor: "Predictor", connection: Connection) -> None:
    with suppress(EOFError, OSError):
        while True:
            table = connection.recv()
            answer: Any
            try:
                answer = predictor(table), predictor.account.take()
            except BatchError as error:
                answer = error
            except Exception:
                answer = RuntimeError(traceback.format_exc())
            connection.send(answer)


if __name__ == "__main__":
    main()
