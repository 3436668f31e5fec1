"""Ray Serve: a deployment with `serve.batch`, by HTTP, a tensor's bytes as body and answer."""

import os
import signal

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import numpy as np
import ray
from peer_model import PeerModel, arguments
from ray import serve
from starlette.requests import Request
from starlette.responses import Response

given = arguments()


@serve.deployment(
    num_replicas=given.instances, max_ongoing_requests=1024, ray_actor_options={"num_cpus": 0.5}
)
class Peer:
    def __init__(self) -> None:
        self._model = PeerModel(given)

    @serve.batch(max_batch_size=given.max_batch_size, batch_wait_timeout_s=given.delay_us / 1e6)
    async def _predict(self, examples: list[np.ndarray]) -> list[np.ndarray]:
        return list(self._model.rows(np.stack(examples)))

    async def __call__(self, request: Request) -> Response:
        example = np.frombuffer(await request.body(), np.float32).reshape(self._model.shape)
        answer = await self._predict(example)
        return Response(answer.tobytes(), media_type="application/octet-stream")


if __name__ == "__main__":
    ray.init(include_dashboard=False, log_to_driver=True)
    serve.start(http_options={"host": "127.0.0.1", "port": given.port})
    serve.run(Peer.bind(), route_prefix="/predict")
    signal.pause()
