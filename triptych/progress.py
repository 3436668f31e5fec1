"""How far a verb is that may take long."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

PATIENCE_SECONDS = 2.0  # a shorter wait needs no progress shown


@contextmanager
def progress(title: str, total: int | None) -> Iterator[Any]:
    """Shown to a person alone, and only if it takes long."""
    from threading import Timer

    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    shown = Progress(
        console=console,
        transient=True,
        redirect_stdout=False,
        disable=not console.is_terminal,
    )
    task = shown.add_task(title, total=total)
    late = Timer(PATIENCE_SECONDS, shown.start)
    late.daemon = True
    late.start()
    try:
        yield lambda: shown.advance(task)
    finally:
        late.cancel()
        shown.stop()
