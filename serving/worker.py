"""One of several processes that share a port: `python -m serving.worker`, by `serving.supervisor`.

Its settings come from the environment. A line on standard output says that it is ready.
"""

import asyncio
import json

from serving.server import Ready, serve
from serving.settings import Settings


def say_ready(ready: Ready) -> None:
    print(json.dumps(ready._asdict()), flush=True)


if __name__ == "__main__":
    asyncio.run(serve(Settings.model_validate({}), say_ready))
