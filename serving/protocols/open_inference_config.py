"""What a model is, as the Open Inference Protocol tells it: metadata and Triton's ModelConfig.

As dicts with the fields' names: gRPC makes messages of them, and HTTP sends them as they are.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from serving.batch_scheduler import Batching
from serving.protocols.open_inference_tensors import INVALID, datatype_of, shape_of
from serving.runtime.endpoint import Endpoint, TensorSpec
from serving.runtime.servable import Servable

PLATFORM = "tensorflow_savedmodel"  # what the folder is, whichever executor computes it
PRIORITY_LEVELS = 9
DEFAULT_PRIORITY_LEVEL = 5  # of calls that name none; 1 goes first


def metadata(name: str, versions: Iterable[int], servable: Servable) -> dict[str, Any]:
    """Of the default endpoint: the others are asked by their inputs' names, or by `endpoint`."""
    endpoint = servable.endpoints[servable.default_endpoint]
    return {
        "name": name,
        "versions": [str(version) for version in sorted(versions)],
        "platform": PLATFORM,
        "inputs": [_tensor_metadata(spec) for spec in endpoint.inputs.values()],
        "outputs": [_tensor_metadata(spec) for spec in endpoint.outputs.values()],
    }


def model_config(
    name: str, servable: Servable, batching: Batching, max_rows: int
) -> dict[str, Any]:
    """
    Args: max_rows: of a request. More than a batch holds are split over several, so that
            max_batch_size, which clients take for what they may send, is this.
    """
    endpoint = servable.endpoints[servable.default_endpoint]
    config: dict[str, Any] = {
        "name": name,
        "platform": PLATFORM,
        "max_batch_size": max_rows if endpoint.batched else 0,
        "input": _inputs(endpoint),
        "output": _outputs(endpoint),
        "instance_group": [
            {"name": name, "kind": "KIND_CPU", "count": max(servable.executor.lanes, 1)}
        ],
        "model_transaction_policy": {"decoupled": False},
        "parameters": {
            "executor": {"string_value": servable.executor_name},
            "precision": {"string_value": servable.precision},
            "endpoint": {"string_value": endpoint.name},
        },
    }
    if endpoint.batched:
        config["dynamic_batching"] = _dynamic_batching(batching)
    return config


def _dynamic_batching(batching: Batching) -> dict[str, Any]:
    timeout = batching.queue_timeout_seconds
    return {
        "preferred_batch_size": [*batching.allowed_batch_sizes] or [batching.max_batch_size],
        "max_queue_delay_microseconds": round(batching.batch_timeout_seconds * 1e6),
        "priority_levels": PRIORITY_LEVELS,
        "default_priority_level": DEFAULT_PRIORITY_LEVEL,
        "default_queue_policy": {
            "timeout_action": "REJECT",
            "default_timeout_microseconds": 0 if math.isinf(timeout) else round(timeout * 1e6),
            "allow_timeout_override": True,
            "max_queue_size": batching.max_queue_size,
        },
    }


def _inputs(endpoint: Endpoint) -> list[Mapping[str, Any]]:
    return [
        _tensor_config(spec, endpoint.batched)
        | {"optional": False, "is_shape_tensor": False, "allow_ragged_batch": False}
        for spec in endpoint.inputs.values()
    ]


def _outputs(endpoint: Endpoint) -> list[Mapping[str, Any]]:
    return [
        _tensor_config(spec, endpoint.batched) | {"is_shape_tensor": False}
        for spec in endpoint.outputs.values()
    ]


def _tensor_config(spec: TensorSpec, batched: bool) -> dict[str, Any]:
    datatype = datatype_of(spec.dtype)
    renamed = {"BYTES": "STRING", INVALID: "INVALID"}  # only here
    return {
        "name": spec.name,
        "data_type": f"TYPE_{renamed.get(datatype, datatype)}",
        "dims": shape_of(spec)[1 if batched else 0 :],
    }


def _tensor_metadata(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": datatype_of(spec.dtype), "shape": shape_of(spec)}
