"""A server with a cache: versions come by it, and the process that fills it comes and goes."""

import os

import numpy as np

from protos.triptych.v1.classifier_pb2 import VersionStatus
from serving.preparer import WORKER
from tests.serving.server_fixtures import running, scores_of, until
from tests.serving.supervised import side_processes

LABELS = 6


async def none() -> bool:
    return side_processes(WORKER) == []


async def scores(client, name: str, item: bytes | str) -> np.ndarray:
    return scores_of(await client.classify(name, item, top_k=LABELS))


async def test_new_versions_are_prepared_aside(tiny, tmp_path) -> None:
    root, item = tmp_path / "repository", tiny.item("image", 2)
    tiny.publish(root, "image", 1)
    async with running(root, cache=tmp_path / "cache", prepare_nice=3) as client:
        await until(none)  # as the next ones are prepared at another priority
        for version in (1, 2):
            tiny.publish(root, "image", version + 1, seed=version)
            await client.server.rescan()
            wanted = tiny.scores("image", item, seed=version)
            np.testing.assert_allclose(await scores(client, "image", item), wanted, atol=1e-4)
        (process,) = side_processes(WORKER)
        assert os.getpriority(os.PRIO_PROCESS, process) == 3
    assert side_processes(WORKER) == []


async def test_a_bad_version_is_refused_and_the_good_one_serves(tiny, tmp_path) -> None:
    def spoil(folder) -> None:
        path = folder / "saved_model.pb"
        path.write_bytes(path.read_bytes()[::-1])

    root, item = tmp_path / "repository", tiny.item("image", 2)
    tiny.publish(root, "image", 1)
    async with running(root, cache=tmp_path / "cache") as client:
        tiny.publish(root, "image", 2, change=spoil)
        await client.server.rescan()
        bad = (await client.versions("image"))[2]
        assert (bad.state, "saved_model.pb" in bad.reason) == (VersionStatus.State.FAILED, True)
        wanted = tiny.scores("image", item)
        np.testing.assert_allclose(await scores(client, "image", item), wanted, atol=1e-4)
