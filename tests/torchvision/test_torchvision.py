"""Our networks with PyTorch's weights give PyTorch's logits.

In float64: float32's rounding alone, through 152 layers of random weights, comes to 3e-4.
PyTorch stays in an environment of its own (requirements.txt): TRIPTYCH_TORCH_PYTHON names its
interpreter, as `make test-torchvision` does, and write_reference.py runs there.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy

import models
from models.weights import torch_file
from models.weights.torch_state import DONORS, carry_state, class_count

PYTHON = os.environ.get("TRIPTYCH_TORCH_PYTHON", "python")
SCRIPT = Path(__file__).with_name("write_reference.py")
SMALL = "squeezenet1_1"

pytestmark = pytest.mark.torchvision


@pytest.fixture
def float64() -> Iterator[None]:
    for dtype in ("float64", "float32"):
        keras.config.set_floatx(dtype)
        keras.config.set_dtype_policy(dtype)  # which has forgotten floatx once it was asked for
        if dtype == "float64":
            yield


def reference(name: str, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    subprocess.run([PYTHON, SCRIPT, name, folder], check=True, timeout=240)
    with np.load(folder / "reference.npz") as arrays:
        return arrays["inputs"], arrays["logits"]


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", DONORS)
def test_logits_are_those_of_pytorch(name: str, tmp_path: Path) -> None:
    x, wanted = reference(name, tmp_path)
    state = torch_file.read(tmp_path / "weights.pth")
    (tmp_path / "weights.pth").unlink()
    assert class_count(state, DONORS[name]) == wanted.shape[1]
    network = models.create_model(name, wanted.shape[1], **DONORS[name].options)
    network(keras.KerasTensor((1, *x.shape[1:])))
    carry_state(network, state, DONORS[name])
    got = convert_to_numpy(network(x, training=False))
    scale = np.abs(wanted).max()
    assert np.abs(wanted[0] - wanted[1]).max() > 0.01 * scale  # the input is seen at all
    assert got.dtype == wanted.dtype == np.float64
    assert np.abs(got - wanted).max() <= 1e-9 * scale


def test_pytorchs_three_formats_hold_the_same(tmp_path: Path) -> None:
    reference(SMALL, tmp_path)
    first, *others = (
        torch_file.read(tmp_path / f"weights{suffix}") for suffix in (".pth", ".th", ".safetensors")
    )
    for other in others:
        assert first.keys() == other.keys()
        assert all(np.array_equal(first[name], other[name]) for name in first)
