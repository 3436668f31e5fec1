"""One of several processes that share a port: `python -m serving.worker`, by `serving.supervisor`.

A line of JSON on standard input is its order. When that input ends, so does the worker, in good
order: the supervisor wants it so, or is gone. A line of JSON on standard output says that it is
ready, or why it cannot be; whatever else is printed goes to the log.
"""

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, TextIO

import uvloop

from serving.errors import TriptychError
from serving.lean import leave_out_training
from serving.observability import share_metrics
from serving.ready import Ready
from serving.settings import Settings

logger = logging.getLogger(__name__)

INPUT, OUTPUT, LOG = 0, 1, 2


def work(order: dict[str, Any], said: TextIO) -> int:
    """Returns the exit status."""
    share_metrics(order["metrics"], order["index"])
    settings = Settings.model_validate(order["settings"])

    def say(what: dict[str, Any]) -> None:
        with said:
            said.write(f"{json.dumps(what)}\n")

    try:
        uvloop.run(_serve(settings, lambda ready: say({"ready": ready})))
    except (TriptychError, OSError) as error:
        if said.closed:
            logger.error("%s", error)
        else:
            say({"error": str(error)})
        return 1
    return 0


async def _serve(settings: Settings, on_ready: Callable[[Ready], None]) -> None:
    loop = asyncio.get_running_loop()

    def end() -> None:
        loop.remove_reader(INPUT)
        # Unless it is ending already, when a signal would be the second one, and cut calls off.
        if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
            signal.raise_signal(signal.SIGTERM)

    loop.add_reader(INPUT, end)
    leave_out_training()
    from serving.server import serve

    await serve(settings, on_ready)


def main() -> int:
    said = open(os.dup(OUTPUT), "w")  # noqa: SIM115
    os.dup2(LOG, OUTPUT)
    # Without a buffer, so that the loop sees the end of it.
    with open(INPUT, "rb", buffering=0, closefd=False) as given:
        line = given.readline()
    return work(json.loads(line), said) if line else 0


if __name__ == "__main__":
    sys.exit(main())
