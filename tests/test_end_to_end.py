"""The product's promise: files become a network, the network a service, in three domains."""

import grpc
import numpy as np
import pytest

from protos.triptych.v1 import classifier_pb2, classifier_pb2_grpc
from serving.server import Server
from serving.settings import Settings

RIGHT = {
    "image": ["blue", "green", "red"],
    "audio": ["high", "low", "middle"],
    "text": ["animal", "weather", "food"],
}


@pytest.mark.parametrize("executor", ["openvino", "tensorflow"])
async def test_train_export_serve_classify(repository, inputs, servables, executor) -> None:
    server = Server(Settings(repository=repository, grpc_port=0, http_port=0, executor=executor))
    try:
        ready = await server.start()
        assert ready.models == [("tiny-audio", 1), ("tiny-image", 1), ("tiny-text", 1)]
        async with grpc.aio.insecure_channel(f"localhost:{ready.grpc_port}") as channel:
            stub = classifier_pb2_grpc.ClassifierStub(channel)
            for domain, items in inputs.items():
                request = classifier_pb2.ClassifyRequest(model=f"tiny-{domain}", top_k=99)
                for item in items:
                    kind = "text" if isinstance(item, str) else "data"
                    request.inputs.add(**{kind: item})
                response = await stub.Classify(request, timeout=30)
                best = [result.labels[0].label for result in response.results]
                assert best == RIGHT[domain]
                servable = servables(domain)
                for item, result in zip(items, response.results, strict=True):
                    example = servable.preprocess(servable.decode(item))
                    alone = servable.predict(example[None]).scores[0]
                    served = {label.class_id: label.score for label in result.labels}
                    wanted = dict(enumerate(alone))
                    assert served.keys() == wanted.keys()
                    for class_id, score in served.items():
                        assert score == pytest.approx(wanted[class_id], abs=1e-5)
                    assert np.isclose(sum(served.values()), 1.0, atol=1e-4)
    finally:
        await server.stop()
