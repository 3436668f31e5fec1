"""What the tests of the engine share: an engine over fakes of what is loaded.

An input is its own example: a number that is also its class.
"""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from serving.batch_scheduler import Batching
from serving.batcher import Batcher
from serving.engine import Engine, LoadedVersion
from serving.errors import InvalidInput
from serving.manager import Manager
from serving.observability import Metrics
from serving.runtime.endpoint import STRING, Endpoint, TensorSpec
from serving.runtime.executors import joined
from serving.settings import Settings
from serving.statistics import VersionStatistics
from tests.serving.manager_fakes import disk

INT, FLOAT = np.dtype(np.int64), np.dtype(np.float32)
K = 3


def endpoint(name, given, answers, batched=True):
    """Specs as name=(dtype, shape)."""
    return Endpoint(
        name,
        {key: TensorSpec(key, *spec) for key, spec in given.items()},
        {key: TensorSpec(key, *spec) for key, spec in answers.items()},
        batched,
    )


SCORES = {"scores": (FLOAT, (None, K))}
RAW = ({"inputs": (STRING, (None,))}, {"classes": (STRING, (None, K))} | SCORES)
ENDPOINTS = {
    "predict": endpoint("predict", {"examples": (INT, (None,))}, {"logits": (FLOAT, (None, K))}),
    "classify": endpoint("classify", *RAW),
    "serving_default": endpoint("serving_default", *RAW),
    "double": endpoint("double", {"x": (FLOAT, (None, 2))}, {"y": (FLOAT, (None, 2))}),
    "total": endpoint("total", {"x": (FLOAT, (None,))}, {"sum": (FLOAT, ())}, batched=False),
}


class Servable:
    executor_name = "fake"
    precision = "f32"
    queues = False
    manifest = report = None
    default_endpoint = "predict"
    raw_endpoints = frozenset({"classify", "serving_default"})
    endpoints = ENDPOINTS

    def __init__(self, name, labels=("zero", "one", "two")):
        self.name = name
        self.labels = list(labels)
        self.may_decode = threading.Event()
        self.may_decode.set()
        self.ran = []

    def endpoint(self, name):
        if name not in self.endpoints:
            raise InvalidInput(f"no endpoint {name}")
        return self.endpoints[name]

    def decode(self, item):
        assert self.may_decode.wait(10)
        item = item.decode() if isinstance(item, bytes) else item
        if item == "bug":
            raise ZeroDivisionError("what no caller may read")
        if item not in ("0", "1", "2"):
            raise InvalidInput(f"{item} is no class")
        return item

    def preprocess(self, decoded):
        return np.array(int(decoded))

    def run(self, name, inputs):
        assert self.may_decode.wait(10)
        self.ran.append(name)
        if name == "total":
            return {"sum": inputs["x"].sum()}
        return {"y": inputs["x"] * 2}

    def close(self): ...


class Executor:
    """-1 is an input that it fails at, and -2 one that gives no numbers."""

    name = "fake"
    precision = "f32"
    queues = False
    lanes = threads = 1

    def __init__(self):
        self.may_compute = threading.Event()
        self.may_compute.set()
        self.batches = []
        self.began = asyncio.Event()
        self.loop = asyncio.get_running_loop()

    def run(self, *parts, alone=False, here=True):
        inputs = joined(parts)
        self.batches.append(inputs["examples"].tolist())
        self.loop.call_soon_threadsafe(self.began.set)
        assert self.may_compute.wait(10)
        if (inputs["examples"] == -1).any():
            raise MemoryError("what no caller may read")
        scores = np.eye(K, dtype=np.float32)[np.maximum(inputs["examples"], 0)]
        scores[inputs["examples"] == -2] = np.nan
        return {"logits": scores * 10, "scores": scores}

    def close(self): ...


class House:
    """An engine over fakes of what is loaded, by the names of the models.

    Without `batching`, the settings' queue is each model's, as a server has it.
    """

    def __init__(self, batching=None, labels=("zero", "one", "two"), **settings):
        self.batching = batching or Batching(max_queue_size=Settings(**settings).max_queue_size)
        self.labels = labels
        self.loaded = {}
        self.executors = {}
        self.manager = Manager(self._load)
        self.workers = ThreadPoolExecutor(2)
        self.metrics = Metrics()
        self.engine = Engine(
            self.manager, self.metrics, Settings(preprocess_threads=2, **settings), self.workers
        )

    async def serve(self, *names):
        snapshot = {}
        for name in names:
            snapshot |= disk(1, name=name)
        await self.manager.reconcile(snapshot)

    async def classify(self, *inputs, model="digits"):
        return await self.engine.classify(model, None, inputs, top_k=1, min_score=0.0)

    async def infer(self, endpoint, model="digits", how=None, **inputs):
        with self.engine.acquire(model) as handle:
            return await self.engine.infer(handle, endpoint, inputs, **(how or {}))

    async def close(self):
        for name, loaded in self.loaded.items():
            loaded.servable.may_decode.set()
            self.executors[name].may_compute.set()
        self.workers.shutdown()
        await self.manager.close()

    async def _load(self, folder):
        statistics = VersionStatistics()
        self.executors[folder.name] = Executor()
        batcher = Batcher(self.executors[folder.name], self.batching, on_batch=statistics.batch)
        servable = Servable(folder.name, self.labels)
        self.loaded[folder.name] = LoadedVersion(servable, batcher, statistics)
        return self.loaded[folder.name]


def strings(*items):
    return np.array([item.encode() for item in items], object)
