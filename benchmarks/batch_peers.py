"""The same files by other means: python -m benchmarks.batch_peers WAY NETWORK VERSION_FOLDER LIST

tfdata  tf.data reads and decodes, keras.Model.predict computes
ray     Ray Data, with actors that hold the plain SavedModel

Prints a line of JSON: inputs a second, without the start.
"""

import io
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

BATCH = 32  # the default of keras.Model.predict
WARM_UP_BATCHES = 2


def tfdata(network: str, folder: Path, paths: list[str]) -> float:
    import tensorflow as tf

    from benchmarks.networks import CLASSES, side
    from models import create_model
    from pipelines.preprocessing import ImagePreprocessing

    model = create_model(network, CLASSES.get(network, 1000))
    inputs = ImagePreprocessing(side(network), side(network))

    def data(given: list[str]) -> Any:
        files = tf.data.Dataset.from_tensor_slices(given)
        examples = files.map(
            lambda path: inputs.preprocess(inputs.decode(tf.io.read_file(path))),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        return examples.batch(BATCH).prefetch(tf.data.AUTOTUNE)

    model.predict(data(paths[: BATCH * WARM_UP_BATCHES]), verbose=0)
    began = time.perf_counter()
    model.predict(data(paths), verbose=0)
    return len(paths) / (time.perf_counter() - began)


class PlainSavedModel:
    def __init__(self, folder: str) -> None:
        import tensorflow as tf

        self._tf = tf
        self._model = tf.saved_model.load(folder)
        self._preprocess = self._model.signatures["preprocess"]
        self._predict = self._model.signatures["predict"]

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        import numpy as np
        from PIL import Image

        tf, began = self._tf, time.time()
        pictures = [
            np.array(Image.open(io.BytesIO(data)).convert("RGB")) for data in batch["bytes"]
        ]
        examples = [self._preprocess(image=tf.constant(p))["example"] for p in pictures]
        scores = self._predict(examples=tf.stack(examples))["scores"].numpy()
        rows = len(pictures)
        times = {"began": np.full(rows, began), "ended": np.full(rows, time.time())}
        return {"path": batch["path"], "class_id": scores.argmax(axis=1), **times}


def ray_data(network: str, folder: Path, paths: list[str]) -> float:
    """From the first batch that an actor begins to the last one that ends."""
    import ray

    ray.init(log_to_driver=False, logging_level="ERROR", include_dashboard=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    processors = int(ray.cluster_resources()["CPU"])
    answered = ray.data.read_binary_files(paths, include_paths=True).map_batches(
        PlainSavedModel,
        fn_constructor_args=(str(folder),),
        batch_size=BATCH,
        concurrency=max(1, processors - 1),  # one is left to read
        num_cpus=1,
    )
    rows, began, ended = 0, float("inf"), 0.0
    for batch in answered.iter_batches(batch_size=None):
        rows += len(batch["path"])
        began, ended = min(began, *batch["began"]), max(ended, *batch["ended"])
    return rows / (ended - began)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    way, network, folder, listed = sys.argv[1:]
    paths = Path(listed).read_text().split("\n")[:-1]
    speed = {"tfdata": tfdata, "ray": ray_data}[way](network, Path(folder), paths)
    print(json.dumps({"inputs_per_second": speed}))
