"""How far a verb is that may take long."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

PATIENCE_SECONDS = 2.0  # a shorter wait needs no progress shown


class Bar:
    def __init__(self, shown: Any, title: str, total: int | None) -> None:
        self._shown = shown
        self._task = shown.add_task(title, total=total)

    def begin(self, total: int) -> None:
        """For who knows only later how much there is."""
        self._shown.update(self._task, total=total)

    def advance(self, count: int = 1) -> None:
        self._shown.advance(self._task, count)


@contextmanager
def progress(title: str, total: int | None = None) -> Iterator[Bar]:
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
    late = Timer(PATIENCE_SECONDS, shown.start)
    late.daemon = True
    late.start()
    try:
        yield Bar(shown, title, total)
    finally:
        late.cancel()
        shown.stop()
