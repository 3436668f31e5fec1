"""MLServer: a custom runtime with its adaptive batching, by OIP over gRPC."""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from peer_model import PeerModel, arguments

HERE = Path(__file__).parent


class Peer(MLModel):
    async def load(self) -> bool:
        self._model = PeerModel(arguments())
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        examples = NumpyCodec.decode_input(payload.inputs[0])
        # A batch computes while the next is read.
        outputs = await asyncio.to_thread(self._model, np.asarray(examples, np.float32))
        return InferenceResponse(
            model_name=self.name,
            outputs=[NumpyCodec.encode_output(name, value) for name, value in outputs.items()],
        )


def settings(folder: Path) -> None:
    given = arguments()
    server = {
        "host": "127.0.0.1",
        "http_port": given.http_port,
        "grpc_port": given.port,
        "metrics_port": 0,
        "parallel_workers": 0,  # the model in the server's own process: less to copy
        "metrics_endpoint": None,
        "grpc_max_message_length": 2**30,
    }
    model = {
        "name": given.model,
        "implementation": "mlserver_peer.Peer",
        "max_batch_size": given.max_batch_size,
        "max_batch_time": given.delay_us / 1e6,
        "inputs": [{"name": "examples", "datatype": "FP32", "shape": [-1, *given.shape]}],
    }
    (folder / "settings.json").write_text(json.dumps(server))
    (folder / "model-settings.json").write_text(json.dumps(model))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        settings(Path(made))
        command = [str(Path(sys.executable).parent / "mlserver"), "start", made]
        environment = os.environ | {"PYTHONPATH": str(HERE)}
        raise SystemExit(subprocess.run(command, env=environment, check=False).returncode)
