"""`--workers`: real processes on one port, which are killed, stopped and told to end."""

import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import grpc
import pytest
from tensorflow_serving.apis import model_management_pb2, model_service_pb2_grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from protos.triptych.v1.classifier_pb2 import ClassifyRequest, Input, ListModelsRequest
from serving.settings import Settings
from serving.supervisor import Patience, share
from tests.serving.supervised import (
    HOST,
    PATIENT_SECONDS,
    WORKERS,
    Supervised,
    classify,
    command,
    links,
    read,
    supervised,
    until,
)


@pytest.fixture(scope="module")
def cache_home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def server(tiny, tmp_path_factory, cache_home) -> Iterator[Supervised]:
    root = tmp_path_factory.mktemp("repository")
    tiny.publish(root, "text")
    with supervised(root, cache_home) as server:
        yield server


# Answering


def test_every_worker_answers_on_the_one_port(server) -> None:
    assert len(server.workers()) == WORKERS
    with ExitStack() as stack:
        for stub in server.connect_to_all(stack):
            assert len(classify(stub).results[0].labels) == 2
        assert all(server.clients(server.grpc_port).values())


def test_a_scrape_of_any_worker_tells_the_sum(server) -> None:
    counted = ("triptych_requests_total", "text", "triptych", "OK")
    observed = ("triptych_request_seconds_count", "text", "triptych")
    before = server.scrape()
    with ExitStack() as stack:
        stubs = server.connect_to_all(stack)
        for stub in stubs:
            classify(stub)
    after = server.scrape()
    assert len(after) == WORKERS
    for name in (counted, observed):
        (old,) = {told.get(name, 0) for told in before.values()}
        (new,) = {told[name] for told in after.values()}
        assert new - old == len(stubs)
    for told in after.values():
        assert told["triptych_model_ready", "text"] == 1
        assert told["triptych_version_state", "text", "READY", "1"] == 1


def test_a_file_that_is_just_being_made_spoils_no_scrape(server) -> None:
    counting = next(
        name for name in links(f"/proc/{min(server.workers())}/fd") if name.endswith(".db")
    )
    empty = Path(counting).with_name("counter_9.db")
    empty.touch()
    assert len(server.scrape()) == WORKERS
    empty.unlink()


def load(channel: grpc.Channel) -> object:
    stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
    return stub.RepositoryModelLoad(service_pb2.RepositoryModelLoadRequest(model_name="text"))


def unload(channel: grpc.Channel) -> object:
    stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
    return stub.RepositoryModelUnload(service_pb2.RepositoryModelUnloadRequest(model_name="text"))


def reload(channel: grpc.Channel) -> object:
    request = model_management_pb2.ReloadConfigRequest()
    request.config.model_config_list.SetInParent()  # no model at all
    return model_service_pb2_grpc.ModelServiceStub(channel).HandleReloadConfigRequest(request)


@pytest.mark.parametrize("change", [load, unload, reload])
def test_what_would_change_one_worker_alone_is_refused(server, change) -> None:
    with ExitStack() as stack:
        for stub in server.connect_to_all(stack):
            with pytest.raises(grpc.RpcError) as caught:
                change(stub.channel)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            for part in ("one of the workers", "repository", "--workers 1"):
                assert part in caught.value.details()
            classify(stub)


def test_settings_that_are_none_reach_the_workers(server, cache_home) -> None:
    assert server.workers()
    assert not (cache_home / "triptych").exists()  # where it is kept by default


def test_the_supervisor_has_no_use_for_tensorflow(server) -> None:
    assert "tensorflow" not in read(f"/proc/{server.process.pid}/maps")
    assert all("tensorflow" in read(f"/proc/{pid}/maps") for pid in server.workers())


def test_a_worker_leaves_out_what_trains(server) -> None:
    for pid in server.workers():
        assert not re.search("/(scipy|h5py|pandas|sklearn)/", read(f"/proc/{pid}/maps"))


# Dying


def test_a_killed_worker_is_started_again_and_the_port_answers_meanwhile(server) -> None:
    counted = ("triptych_requests_total", "text", "triptych", "OK")
    with ExitStack() as stack:
        stubs = server.connect_to_all(stack)
        for stub in stubs:
            classify(stub)
        before = max(told[counted] for told in server.scrape().values())
        victim, survivor = server.workers()
        os.kill(victim, signal.SIGKILL)
        until(lambda: victim not in server.workers())
    answered = 0
    clients: dict[int, set[int]] = {}
    while not (len(clients) == WORKERS and all(clients.values())):
        with ExitStack() as stack:
            classify(server.connect(stack))  # a call that fails fails the test
            answered += 1
            clients = {
                pid: clients.get(pid, set()) | now
                for pid, now in server.clients(server.grpc_port).items()
            }
    assert survivor in clients
    assert victim not in clients
    told = server.scrape()
    assert {values[counted] for values in told.values()} == {before + answered}
    assert {values["triptych_model_ready", "text"] for values in told.values()} == {1}


def test_deaths_in_a_row_are_followed_by_longer_and_longer_waits() -> None:
    patience = Patience()
    short = [patience.before_next(seconds) for seconds in (3600, 0, 59, -float("inf"), 1, 1)]
    assert short == [0.1, 1, 5, 30, 30, 30]
    assert [patience.before_next(seconds) for seconds in (60, 0)] == [0.1, 1]


# Ending


@pytest.mark.parametrize(
    ("number", "to_all", "code"),
    [
        # That it is handed on, the next test says; that it drains, the next case.
        pytest.param(signal.SIGTERM, False, 0, marks=pytest.mark.full),
        (signal.SIGTERM, True, 0),
        (signal.SIGKILL, False, -9),
    ],
)
def test_calls_in_flight_are_answered_and_no_process_stays(
    tiny, tmp_path, number, to_all, code
) -> None:
    """However the supervisor ends, and if the workers have the signal too, as systemd does it."""
    tiny.publish(tmp_path / "models", "text")
    with (
        supervised(tmp_path / "models", tmp_path, batch_timeout_us=2_000_000) as server,
        ExitStack() as stack,
    ):
        workers = server.workers()
        stubs = server.connect_to_all(stack)
        requests = [
            ClassifyRequest(model="text", inputs=[Input(text="x" * n)]) for n in range(1, 9)
        ]
        calls = [stub.Classify.future(request) for stub in stubs for request in requests]
        for stub in stubs:
            stub.ListModels(ListModelsRequest())  # so that they have arrived
        for pid in [*(workers if to_all else ()), server.process.pid]:
            os.kill(pid, number)
        answers = [call.result(PATIENT_SECONDS) for call in calls]
        assert [len(answer.results[0].labels) for answer in answers] == [2] * len(calls)
        _, log = server.process.communicate(timeout=PATIENT_SECONDS)
        assert server.process.returncode == code
        assert "Traceback" not in log
        until(lambda: not any(alive(pid) for pid in workers))


def test_a_second_signal_ends_them_at_once(tmp_path) -> None:
    with supervised(tmp_path, tmp_path, drain_seconds=3600) as server, hanging(server) as hung:
        server.process.send_signal(signal.SIGTERM)
        until(lambda: server.workers() == {hung})
        server.process.send_signal(signal.SIGTERM)
        _, log = server.process.communicate(timeout=PATIENT_SECONDS)
        assert server.process.returncode == 1
        assert "cut off" in log.splitlines()[-1]


def test_a_worker_that_hangs_holds_up_the_end_for_a_while_only(tmp_path) -> None:
    with supervised(tmp_path, tmp_path, drain_seconds=0) as server, hanging(server):
        server.process.send_signal(signal.SIGTERM)
        server.process.communicate(timeout=PATIENT_SECONDS)
        assert server.process.returncode == 0


# Not starting


@pytest.mark.parametrize("name", ["grpc_port", "http_port"])
def test_a_taken_port_is_refused_before_anything_starts(tmp_path, name) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        done = run(command(tmp_path / "missing", **{name: port}))
    assert done.returncode == 1
    option = name.replace("_", "-")
    assert f"port {port} " in done.stderr
    assert f"--{option}" in done.stderr
    assert "missing" not in done.stderr  # which a worker would have complained of


def test_a_worker_that_cannot_start_ends_all_with_its_reason(tmp_path) -> None:
    done = run(command(tmp_path / "missing"))
    assert done.returncode == 1
    assert str(tmp_path / "missing") in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


# Sharing


def test_threads_are_shared_out_and_nothing_else_is_changed() -> None:
    settings = Settings(
        workers=3, threads=8, preprocess_threads=2, cache=None, max_queue_size=7, log_level="ERROR"
    )
    own = share(settings, {"grpc_port": 1, "http_port": 2})
    assert (own.threads, own.preprocess_threads) == (2, 1)
    assert (own.grpc_port, own.http_port) == (1, 2)
    assert own.reuse_port
    changed = {"threads", "preprocess_threads", "grpc_port", "http_port", "reuse_port", "workers"}
    assert own.model_dump(exclude=changed) == settings.model_dump(exclude=changed)


def run(program: list[str]) -> subprocess.CompletedProcess:
    return subprocess.run(
        program, capture_output=True, text=True, timeout=PATIENT_SECONDS, check=False
    )


def alive(pid: int) -> bool:
    """Not so if nobody has asked for its exit status yet, as may be where init never does."""
    try:
        return read(f"/proc/{pid}/stat").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@contextmanager
def hanging(server: Supervised) -> Iterator[int]:
    """A worker that does nothing any more, not even end."""
    pid = min(server.workers())
    os.kill(pid, signal.SIGSTOP)
    try:
        yield pid
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
