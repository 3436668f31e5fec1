"""A process that computes rows for another: `python -m pipelines.batch.worker_process FD...`

`processes.py` starts it. Over each connection come jobs, whose models it opens, and tables, each
answered by its rows and the seconds that they took, or by what went wrong. When the other end
closes, so does it.
"""

import os
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from pipelines.batch.errors import BatchError
from serving.lean import leave_out_training

if TYPE_CHECKING:
    from pipelines.batch.predictor import Predictor


def main() -> None:
    leave_out_training()
    worker = _Worker()
    connections = [Connection(int(number)) for number in sys.argv[1:]]
    threads = [threading.Thread(target=worker.serve, args=(each,)) for each in connections]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class _Worker:
    def __init__(self) -> None:
        self._predictor: Predictor

    def serve(self, connection: Connection) -> None:
        with suppress(EOFError, OSError):  # the other one has ended
            while True:
                message = connection.recv()
                answer: Any
                try:
                    answer = (
                        self._open(*message) if isinstance(message, tuple) else self._rows(message)
                    )
                except BatchError as error:
                    answer = error
                except Exception:
                    answer = RuntimeError(traceback.format_exc())
                connection.send(answer)

    def _open(self, job: Any, folder: Any) -> Any:
        from pipelines.batch.local import open_predictor
        from pipelines.batch.processes import Opened
        from serving.runtime import garbage

        with _hushed():
            predictor = open_predictor(job, folder, job.machine.threads)
        self._predictor = predictor
        garbage.collect()
        return Opened(
            predictor.lanes,
            predictor.batch_size,
            predictor.examples_per_second,
            predictor.executor_name,
        )

    def _rows(self, table: Any) -> Any:
        return self._predictor(table), self._predictor.account.take()


@contextmanager
def _hushed() -> Iterator[None]:
    """TensorFlow tells of oneDNN as it starts, at any log level, in the midst of a progress bar."""
    told = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(told, 2)
        os.close(told)


if __name__ == "__main__":
    main()
