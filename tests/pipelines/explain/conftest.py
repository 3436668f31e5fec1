"""The shipped models, opened once a session, each with one of its golden inputs."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from pipelines.explain.network import Network, open_network
from serving.runtime.manifest import read_golden

SHIPPED = Path("model_repository")
MODELS = {"image": "cifar10", "audio": "digits", "text": "questions"}


class Opened(NamedTuple):
    network: Network
    items: list[bytes | str]  # the golden inputs
    example: np.ndarray  # of the first one
    class_id: int  # what the network says it is


@pytest.fixture(scope="session")
def opened() -> Callable[[str], Opened]:
    @cache
    def of_domain(domain: str) -> Opened:
        network = open_network(MODELS[domain], SHIPPED)
        golden = read_golden(SHIPPED / MODELS[domain] / "1")
        items = [g.text if domain == "text" else g.data for g in golden]
        example = network.example(items[0])
        return Opened(network, items, example, int(network.scores(example[None])[0].argmax()))

    return of_domain
