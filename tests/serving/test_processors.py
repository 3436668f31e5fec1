"""Which processors a running server's threads have: who computes has all, the others one of two."""

import asyncio
import os
from pathlib import Path

import grpc
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from protos.triptych.v1.classifier_pb2 import ClassifyRequest, ExplainRequest, Input
from protos.triptych.v1.classifier_pb2_grpc import ClassifierStub
from serving.runtime.priority import LOWEST
from tests.serving.server_process import server_process

ALL = os.sched_getaffinity(0)


def threads(pid: int) -> dict[int, int]:
    """Of a process -> their nice values."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        fields = (task / "stat").read_text().rsplit(")", 1)[1].split()
        found[int(task.name)] = int(fields[16])
    return found


def children(pid: int) -> list[int]:
    return [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]


def require_all_for_who_computes(pid: int) -> None:
    computing = [thread for thread, nice in threads(pid).items() if nice == LOWEST]
    assert computing
    assert [os.sched_getaffinity(thread) for thread in computing] == [ALL] * len(computing)


@pytest.mark.parametrize("executor", ["openvino", "tensorflow"])
async def test_of_a_server_that_loads_later_and_again_and_explains(
    tiny, tmp_path, executor
) -> None:
    given = Input(data=tiny.item("image"))
    request = ClassifyRequest(model="image", inputs=[given])
    with server_process(tmp_path, executor=executor) as process:
        async with grpc.aio.insecure_channel(process.target) as channel:
            stub = ClassifierStub(channel)
            repository = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            for version in (1, 2):
                tiny.publish(tmp_path, "image", version, explain=True)
                load = service_pb2.RepositoryModelLoadRequest(model_name="image")
                await repository.RepositoryModelLoad(load)
                await stub.Classify(request)  # alone, and with others
                answers = await asyncio.gather(*[stub.Classify(request) for _ in range(32)])
                assert {answer.version for answer in answers} == {version}
                require_all_for_who_computes(process.pid)
            await stub.Explain(ExplainRequest(model="image", input=given))
            (explaining,) = children(process.pid)
            assert os.sched_getaffinity(explaining) == ALL
            loop = os.sched_getaffinity(process.pid)
            assert len(loop) == (1 if len(ALL) == 2 else len(ALL))
