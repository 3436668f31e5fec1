"""What a process doesn't import, and that nothing is missing where it is asked for after all."""

import subprocess
import sys

import pytest

LEAN = """
import sys
from serving import lean
lean.{way}()
"""
SERVED = """
from pathlib import Path
from serving.runtime.servable import Servable
Servable.load(Path({folder!r}), "tensorflow").check_golden()
unwanted = {{"h5py", "keras.src", "pandas", "scipy", "sklearn", "tensorflow.lite.python"}}
unwanted.add("tensorflow._api.v2.compat.v1.train")  # who runs compat.v1 imports it
found = [name for name in unwanted if sys.modules.get(name)]
assert not found, found
"""
THREADS = """
import threading
import tensorflow as tf
together, found = threading.Barrier(8), []
def ask():
    together.wait()
    found.append((tf.compat.v1.Session, tf.signal.stft, tf.lite.Interpreter))
threads = [threading.Thread(target=ask) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert len(found) == 8 and len(set(found)) == 1
from tensorflow import nn
assert "relu" in dir(nn)
try:
    tf.signal.fft9d
except AttributeError as error:
    assert "fft9d" in str(error)
else:
    raise AssertionError
"""
TRAINED = """
import keras
assert not {"matplotlib", "pandas", "sklearn"} & set(sys.modules)
import matplotlib, sklearn.metrics
network = keras.Sequential([keras.layers.Conv2D(2, 3), keras.layers.GlobalMaxPooling2D()])
network.compile("sgd", "mse")
network.fit(keras.ops.ones((4, 5, 5, 1)), keras.ops.ones((4, 2)), verbose=0)
assert keras.ops.shape(network.predict(keras.ops.ones((4, 5, 5, 1)), verbose=0)) == (4, 2)
"""


@pytest.mark.parametrize(
    ("way", "code"),
    [
        ("leave_out_training", SERVED),
        ("leave_out_training", THREADS),
        ("import_less", THREADS),
        ("import_less", TRAINED),
    ],
    ids=["served", "served, threads", "trained, threads", "trained"],
)
def test_a_process(way: str, code: str, repository) -> None:
    if code is SERVED:
        code = code.format(folder=str(repository / "tiny-image" / "1"))
    done = subprocess.run(
        [sys.executable, "-c", LEAN.format(way=way) + code], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
