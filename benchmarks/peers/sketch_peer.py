"""The least that one would write instead: grpc.aio, one batching loop, OpenVINO, and no features.

No checks, versions, limits, other protocols or metrics: what those cost is the difference.
"""

import asyncio

import grpc
import numpy as np
import openvino as ov
from peer_model import arguments, tf
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc


class Sketch(service_pb2_grpc.GRPCInferenceServiceServicer):
    def __init__(self, compiled: ov.CompiledModel, max_batch_size: int) -> None:
        self._compiled, self._most = compiled, max_batch_size
        self._request = compiled.create_infer_request()
        self._names = [output.get_any_name() for output in compiled.outputs]
        self._queue: asyncio.Queue = asyncio.Queue()

    async def ModelMetadata(self, request, context):
        shape = [-1, *self._compiled.input(0).partial_shape.get_min_shape()[1:]]
        tensor = {"name": "examples", "datatype": "FP32", "shape": shape}
        return pb.ModelMetadataResponse(name=request.name, inputs=[tensor])

    async def ModelInfer(self, request, context):
        example = np.frombuffer(request.raw_input_contents[0], np.float32)
        answered = asyncio.get_running_loop().create_future()
        self._queue.put_nowait((example.reshape(request.inputs[0].shape), answered))
        response = pb.ModelInferResponse(model_name=request.model_name, id=request.id)
        for name, value in zip(self._names, await answered, strict=True):
            response.outputs.add(name=name, datatype="FP32", shape=value.shape)
            response.raw_output_contents.append(value.tobytes())
        return response

    async def batches(self) -> None:
        while True:
            batch = [await self._queue.get()]
            while len(batch) < self._most and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            examples = np.concatenate([example for example, _ in batch])
            await asyncio.to_thread(self._request.infer, [examples], share_inputs=True)
            outputs = [self._request.get_tensor(name).data.copy() for name in self._names]
            for row, (_, answered) in enumerate(batch):
                answered.set_result([output[row : row + 1] for output in outputs])


async def serve() -> None:
    given = arguments()
    saved_model = tf.saved_model.load(given.saved_model)
    signature = saved_model.signatures["predict"]
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = ov.Core().compile_model(ov.convert_model(signature), "CPU", settings)
    sketch = Sketch(compiled, given.max_batch_size)
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(sketch, server)
    server.add_insecure_port(f"127.0.0.1:{given.port}")
    await server.start()
    await sketch.batches()


if __name__ == "__main__":
    asyncio.run(serve())
