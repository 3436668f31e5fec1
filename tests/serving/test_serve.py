"""How a server process ends: on a signal, in good order; on a second one, at once."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from protos.triptych.v1.classifier_pb2 import ClassifyRequest, Input, ListModelsRequest
from protos.triptych.v1.classifier_pb2_grpc import ClassifierStub

END_SECONDS = 60

# Prints a line once it is ready and one once it has ended, and then lives on, if it is told to.
PROGRAM = """
import asyncio, sys, uvloop
from serving.lean import leave_out_training
leave_out_training()
from serving.server import serve
from serving.settings import Settings

async def main():
    await serve(Settings(), lambda ready: print(ready.grpc_port, flush=True))
    print("ended", flush=True)
    await asyncio.sleep(float(sys.argv[1]))

uvloop.run(main())
"""


@contextmanager
def process(repository: Path, linger_seconds: float = 0, **settings: object) -> Iterator:
    settings = {
        "repository": repository,
        "grpc_port": 0,
        "http_port": 0,
        "measure_seconds": 0,
    } | settings
    environment = {f"TRIPTYCH_{name.upper()}": str(value) for name, value in settings.items()}
    child = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(linger_seconds)],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def test_sigterm_answers_what_is_in_progress_and_exits_0(tiny, tmp_path) -> None:
    tiny.publish(tmp_path, "text")
    with process(tmp_path, batch_timeout_us=2_000_000) as child:
        port = int(child.stdout.readline())
        with grpc.insecure_channel(f"localhost:{port}") as channel:
            stub = ClassifierStub(channel)
            requests = [
                ClassifyRequest(model="text", inputs=[Input(text="x" * n)]) for n in range(1, 17)
            ]
            calls = [stub.Classify.future(request) for request in requests]
            stub.ListModels(ListModelsRequest())  # so that they have arrived
            child.send_signal(signal.SIGTERM)
            assert [len(call.result(END_SECONDS).results[0].labels) for call in calls] == [2] * 16
        _, log = child.communicate(timeout=END_SECONDS)
    assert child.returncode == 0
    assert "Traceback" not in log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_signal_ends_it_and_a_second_one_at_once(tmp_path, number) -> None:
    with process(tmp_path, linger_seconds=10 * END_SECONDS) as child:
        assert int(child.stdout.readline()) > 0
        child.send_signal(number)
        assert child.stdout.readline() == "ended\n"
        child.send_signal(number)
        assert child.wait(END_SECONDS) == -number
