"""How this machine computes, by the server's TRIPTYCH_* variables, for verbs that compute here."""

from pathlib import Path
from typing import TYPE_CHECKING

from triptych.console import fail

if TYPE_CHECKING:
    from pipelines.batch.options import Machine


def machine() -> "tuple[Machine, Path]":
    """As far as they are of use here; and the repository."""
    from pydantic import ValidationError

    from pipelines.batch.options import Machine
    from serving.settings import Settings, explain

    try:
        settings = Settings()
    except ValidationError as error:
        fail(explain(error), 2)
    found = Machine(
        threads=settings.threads,
        executor=settings.executor,
        precision=settings.precision,
        measure_seconds=settings.measure_seconds,
        cache=settings.cache,
        limits=settings.limits,
    )
    return found, settings.repository
