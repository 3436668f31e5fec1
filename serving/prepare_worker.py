"""A process that prepares versions, one after another; `serving.preparer` holds it."""

from pathlib import Path
from typing import NamedTuple

from serving.runtime import garbage
from serving.runtime.cache import Cache
from serving.runtime.opening import Wish
from serving.side_worker import answer_jobs


class Job(NamedTuple):
    """cache: its folder."""

    folder: Path
    wish: Wish
    cache: Path


def prepare(job: Job) -> None:
    """Leaves in the cache what a server opens the version by. Raises: BadVersion.

    Nothing where there is a GPU: the server has all of its memory, and measures there itself.
    """
    from serving.runtime.saved_model import has_gpu, limit_tensorflow
    from serving.runtime.servable import Servable

    limit_tensorflow(job.wish.threads)
    if has_gpu():
        return
    try:
        servable = Servable.load(job.folder, wish=job.wish, cache=Cache(job.cache))
        try:
            servable.check_golden()
        finally:
            servable.close()
    finally:
        garbage.collect()


if __name__ == "__main__":
    answer_jobs(prepare)
