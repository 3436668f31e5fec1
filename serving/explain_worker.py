"""A process that explains, one input after another; `serving.explainer` holds it."""

import os
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from serving.errors import BadVersion, ModelUnavailable
from serving.runtime.decoding import Limits
from serving.side_worker import answer_jobs

if TYPE_CHECKING:
    from serving.runtime.servable import Servable

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
        """An Explanation."""
        from serving.runtime.explanation import explain

        return explain(self._model(job), job.item, job.method, job.class_id)

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
    from serving.runtime.saved_model import limit_tensorflow
    from serving.runtime.servable import Servable

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


if __name__ == "__main__":
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # theirs who answer
    answer_jobs(Worker().answer)
