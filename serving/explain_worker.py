"""A process that explains, one input after another: `python -m serving.explain_worker NICE`.

`serving.explainer` starts it, with jobs on standard input and answers on standard output, each a
pickle behind its length. When its input ends, so does it. It has its priority from its first line
on, so that TensorFlow's threads have it too, and takes no GPU from those who answer.
"""

import os
import pickle
import struct
import sys
import traceback
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from serving.errors import BadVersion, ModelUnavailable, TriptychError
from serving.lean import leave_out_training
from serving.runtime.affinity import spread
from serving.runtime.decoding import Limits
from serving.runtime.priority import LOWEST, give_way, stand_back

if TYPE_CHECKING:
    from serving.runtime.servable import Servable

OUTPUT, LOG = 1, 2
LENGTH = struct.Struct("<Q")
MOST_MODELS = 4  # in memory


class Job(NamedTuple):
    """
    folder, digest: of the version, and of what it holds.
    ready:          the folders of all versions that are; what is loaded of others is let go.
    class_id:       or BEST_CLASS of serving.runtime.explanation.
    """

    folder: str
    digest: str
    ready: Collection[str]
    limits: Limits
    item: bytes | str
    method: str
    class_id: int


class Worker:
    """Explains by a version's own SavedModel, which it loads when it is first asked for."""

    def __init__(self) -> None:
        self._models: dict[tuple[object, ...], Servable] = {}  # the one that was asked last, last

    def answer(self, job: Job) -> Any:
        """An Explanation, or what went wrong instead: a traceback, where it is our mistake."""
        from serving.runtime.explanation import explain

        try:
            return explain(self._model(job), job.item, job.method, job.class_id)
        except TriptychError as error:
            return type(error)(str(error))
        except Exception:
            return RuntimeError(traceback.format_exc())

    def _model(self, job: Job) -> "Servable":
        for key in [key for key in self._models if key[0] not in job.ready]:
            self._models.pop(key).close()
        key = job.folder, job.digest, job.limits
        servable = self._models.pop(key, None) or _load(job)
        self._models[key] = servable
        if len(self._models) > MOST_MODELS:
            self._models.pop(next(iter(self._models))).close()
        return servable


def _load(job: Job) -> "Servable":
    from serving.runtime.manifest import artefact_digest
    from serving.runtime.opening import Wish
    from serving.runtime.servable import Servable, limit_tensorflow

    limit_tensorflow(1)
    folder = Path(job.folder)
    try:
        wish = Wish("tensorflow", seconds=0)
        servable = Servable.load(folder, limits=job.limits, wish=wish)
    except BadVersion as error:
        raise ModelUnavailable(
            f"{folder.parent.name} version {folder.name} is loaded, but cannot be read any more to "
            f"be explained: {error}"
        ) from error
    if servable.manifest is None or artefact_digest(servable.manifest) != job.digest:
        servable.close()
        raise ModelUnavailable(
            f"{folder.parent.name} version {folder.name} was changed on disk since it was loaded, "
            "so what answers cannot be explained: publish a new version instead"
        )
    return servable


def pack(message: Any) -> bytes:
    body = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return LENGTH.pack(len(body)) + body


def _read(source: BinaryIO) -> Job | None:
    """The next one; None at the end, be it in the midst of one."""
    head = source.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    (length,) = LENGTH.unpack(head)
    body = source.read(length)
    return pickle.loads(body) if len(body) == length else None


def main() -> None:
    # Ctrl-C is the server's. In a session of its own, Linux would give it as much of the processors
    # as the whole server, whatever its priority (sched(7), autogroup).
    os.setpgid(0, 0)
    nice, *processors = map(int, sys.argv[1:])
    spread(set(processors))
    stand_back() if nice == LOWEST else give_way(nice)
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    leave_out_training()
    said = os.fdopen(os.dup(OUTPUT), "wb")
    os.dup2(LOG, OUTPUT)  # whatever else is printed
    worker = Worker()
    while (job := _read(sys.stdin.buffer)) is not None:
        said.write(pack(worker.answer(job)))
        said.flush()


if __name__ == "__main__":
    main()
