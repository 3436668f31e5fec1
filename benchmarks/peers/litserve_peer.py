"""LitServe: a LitAPI that batches, by HTTP, with the tensor's bytes as body and answer."""

from typing import Annotated

import litserve
import numpy as np
from fastapi import Body, Response
from peer_model import PeerModel, arguments


class Peer(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self._model = PeerModel(arguments())

    def decode_request(self, request: Annotated[bytes, Body()]) -> np.ndarray:
        return np.frombuffer(request, np.float32).reshape(self._model.shape)

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self._model.rows(x)

    def encode_response(self, output: np.ndarray) -> Response:
        return Response(output.tobytes(), media_type="application/octet-stream")


if __name__ == "__main__":
    given = arguments()
    api = Peer(
        max_batch_size=given.max_batch_size, batch_timeout=given.delay_us / 1e6, api_path="/predict"
    )
    server = litserve.LitServer(
        api, accelerator="cpu", workers_per_device=given.instances, timeout=120, fast_queue=True
    )
    server.run(
        host="127.0.0.1",
        port=given.port,
        num_api_servers=1,
        generate_client_file=False,
        log_level="warning",
        access_log=False,
    )
