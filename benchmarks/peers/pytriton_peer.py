"""NVIDIA PyTriton: a Python function bound to Triton's own binary, with its dynamic batching."""

import numpy as np
from peer_model import PeerModel, arguments
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

if __name__ == "__main__":
    given = arguments()
    model = PeerModel(given)

    @batch
    def infer(examples: np.ndarray) -> dict[str, np.ndarray]:
        return model(examples)

    ports = {"grpc_port": given.port, "http_port": given.http_port}
    with Triton(config=TritonConfig(**ports, allow_metrics=False, log_verbose=0)) as triton:
        triton.bind(
            model_name=given.model,
            infer_func=[infer] * given.instances,
            inputs=[Tensor(name="examples", dtype=np.float32, shape=model.shape)],
            outputs=[
                Tensor(name=name, dtype=np.float32, shape=shape)
                for name, shape in model.answers.items()
            ],
            config=ModelConfig(
                max_batch_size=given.max_batch_size,
                batcher=DynamicBatcher(max_queue_delay_microseconds=given.delay_us),
            ),
            strict=False,
        )
        triton.serve()
