"""BentoML: a batchable API behind a service that takes a tensor's bytes as body, by HTTP.

Two services, as its guide to adaptive batching has it: a server takes arrays as JSON only, but
between services they go as they are.
"""

import os
import sys
from pathlib import Path
from typing import Annotated

import bentoml
import numpy as np
from bentoml.validators import ContentType
from peer_model import PeerModel, arguments

HERE = Path(__file__).parent
Bytes = Annotated[bytes, ContentType("application/octet-stream")]
QUIET = {"access": {"enabled": False}}
# By default it is renewed each hundred requests, and those in flight then fail with status 500.
KEPT_CONNECTION = {"max_requests": 10**9, "max_age": 1e6}
given = arguments()


@bentoml.service(
    workers=given.instances,
    traffic={"timeout": 120},
    logging=QUIET,
    runner_connection=KEPT_CONNECTION,
)
class Batched:
    def __init__(self) -> None:
        self._model = PeerModel(given)

    @bentoml.api(
        batchable=True, batch_dim=0, max_batch_size=given.max_batch_size, max_latency_ms=60_000
    )
    def rows(self, examples: np.ndarray) -> np.ndarray:
        return self._model.rows(examples)


@bentoml.service(workers=1, traffic={"timeout": 120}, logging=QUIET)
class Peer:
    batched = bentoml.depends(Batched)
    shape = tuple(given.shape)

    @bentoml.api
    async def predict(self, example: Bytes, /) -> Bytes:
        examples = np.frombuffer(example, np.float32).reshape(1, *self.shape)
        return (await self.batched.to_async.rows(examples)).tobytes()


if __name__ == "__main__":
    environment = os.environ | {"BENTOML_DO_NOT_TRACK": "True"}
    bento = str(Path(sys.executable).parent / "bentoml")
    command = [bento, "serve", "bentoml_peer:Peer", "--working-dir", str(HERE)]
    command += ["--host", "127.0.0.1", "--port", str(given.port)]
    os.execve(bento, command, environment)
