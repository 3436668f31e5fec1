"""KServe's Python server: a custom predictor, as its guide has it, by OIP over gRPC.

It has no batching of its own (in a cluster a sidecar joins HTTP requests), so requests are
computed side by side in threads.
"""

import asyncio

import numpy as np
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer
from kserve.utils.utils import generate_uuid
from peer_model import Arguments, PeerModel, arguments


class Peer(Model):
    def __init__(self, given: Arguments) -> None:
        super().__init__(given.model)
        self._model = PeerModel(given)
        self.ready = True

    async def get_input_types(self) -> list[dict]:
        shape = [-1, *self._model.shape]
        return [{"name": "examples", "datatype": "FP32", "shape": shape}]

    async def get_output_types(self) -> list[dict]:
        answers = self._model.answers.items()
        return [{"name": n, "datatype": "FP32", "shape": [-1, *shape]} for n, shape in answers]

    async def predict(
        self, payload: InferRequest, headers: dict | None = None, response_headers: object = None
    ) -> InferResponse:
        outputs = await asyncio.to_thread(self._model, payload.inputs[0].as_numpy())
        answer = []
        for name, value in outputs.items():
            answer.append(InferOutput(name, list(value.shape), "FP32"))
            answer[-1].set_data_from_numpy(np.asarray(value), binary_data=True)
        return InferResponse(
            response_id=payload.id or generate_uuid(), model_name=self.name, infer_outputs=answer
        )


if __name__ == "__main__":
    given = arguments()
    server = ModelServer(
        http_port=given.http_port, grpc_port=given.port, enable_latency_logging=False
    )
    server.start([Peer(given)])
