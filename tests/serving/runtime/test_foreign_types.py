"""Number types of SavedModels that triptych did not write: served, or refused with their name."""

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf

from serving.errors import BadVersion
from serving.runtime.opening import Wish
from serving.runtime.servable import Servable

STRANGE = {
    "qint8": tf.qint8,
    "qint32": tf.qint32,
    "float8_e5m2": tf.dtypes.experimental.float8_e5m2,
    "float8_e4m3fn": tf.dtypes.experimental.float8_e4m3fn,
    "int4": tf.dtypes.experimental.int4,
    "resource": tf.resource,
    "variant": tf.variant,
}
KNOWN = {
    tf.float16: np.float16,
    tf.bfloat16: ml_dtypes.bfloat16,
    tf.complex64: np.complex64,
    tf.float64: np.float64,
    tf.uint64: np.uint64,
    tf.int8: np.int8,
}


def save(folder: Path, **signatures: tuple[Any, dict[str, tf.TensorSpec]]) -> Path:
    module = tf.Module()
    concrete = {}
    for name, (function, inputs) in signatures.items():
        named = {key: tf.TensorSpec(s.shape, s.dtype, key) for key, s in inputs.items()}
        concrete[name] = tf.function(function).get_concrete_function(**named)
    tf.saved_model.save(module, str(folder), signatures=concrete)
    return folder


DOUBLE = (lambda x: {"y": x + x}, {"x": tf.TensorSpec([None, 2])})


def takes(dtype: tf.DType) -> tuple[Any, dict[str, tf.TensorSpec]]:
    return lambda odd: {"y": tf.constant(1.0)}, {"odd": tf.TensorSpec([], dtype)}


def gives(dtype: tf.DType) -> tuple[Any, dict[str, tf.TensorSpec]]:
    return lambda x: {"odd": tf.cast(x, dtype)}, {"x": tf.TensorSpec([None, 2])}


@pytest.mark.parametrize("executor", ["openvino", "tensorflow", "auto"])
@pytest.mark.parametrize("dtype", KNOWN, ids=lambda dtype: dtype.name)
def test_the_answer_is_of_the_type_that_is_declared(tmp_path, dtype, executor) -> None:
    double = (DOUBLE[0], {"x": tf.TensorSpec([None, 2], dtype)})
    wish = Wish(executor, seconds=0.01)  # measured with one batch size
    servable = Servable.load(save(tmp_path / "1", serving_default=double), wish=wish)
    servable.warm_up((1, 4))
    endpoint = servable.endpoints["serving_default"]
    assert endpoint.inputs["x"].dtype == endpoint.outputs["y"].dtype == KNOWN[dtype]
    x = np.array([[1, 2], [3, 4]]).astype(KNOWN[dtype])
    if dtype.is_complex:
        x = x * (1 + 2j)
        x = x.astype(KNOWN[dtype])
    endpoint.check({"x": x})
    y = servable.executor.run({"x": x})["y"]
    assert y.dtype == KNOWN[dtype]
    np.testing.assert_array_equal(y, x + x)


@pytest.mark.parametrize("name", STRANGE)
def test_a_type_that_cannot_be_sent_is_a_reason(tmp_path, name) -> None:
    folder = save(tmp_path / "1", serving_default=takes(STRANGE[name]), other=DOUBLE)
    with pytest.raises(
        BadVersion, match=rf"'serving_default'.*input 'odd', which is {name}\b.*save"
    ):
        Servable.load(folder, "tensorflow")


def test_an_output_that_cannot_be_sent_is_a_reason(tmp_path) -> None:
    folder = save(tmp_path / "1", one=gives(STRANGE["float8_e5m2"]), two=takes(tf.qint8))
    with pytest.raises(BadVersion, match=r"output 'odd', which is float8_e5m2"):
        Servable.load(folder, "tensorflow")


def test_the_other_endpoints_are_served(tmp_path) -> None:
    folder = save(tmp_path / "1", serving_default=DOUBLE, a=takes(tf.qint8), b=takes(tf.variant))
    servable = Servable.load(folder)
    assert servable.endpoints.keys() == {"serving_default"}
    (a, b) = servable.report.notes
    assert "endpoint 'a' is not served" in a
    assert "input 'odd', which is variant" in b
    x = np.ones((1, 2), np.float32)
    assert servable.executor.run({"x": x})["y"].tolist() == [[2, 2]]


def test_without_serving_default_the_first_that_can_be_served_is_the_default(tmp_path) -> None:
    folder = save(tmp_path / "1", a=takes(tf.qint8), b=DOUBLE, c=DOUBLE)
    servable = Servable.load(folder)
    assert servable.default_endpoint == "b"
    assert list(servable.endpoints) == ["b", "c"]


def test_names_are_in_order_whatever_that_of_the_file(tmp_path) -> None:
    names = ["zebra", "ant", "mole", "bee", "yak", "cat"]
    specs = {name: tf.TensorSpec([None, 2]) for name in names}

    def many(**given: Any) -> dict[str, Any]:
        return {f"{name}_out": given[name] for name in names}

    servable = Servable.load(save(tmp_path / "1", y=DOUBLE, x=(many, specs)), "tensorflow")
    assert list(servable.endpoints) == ["x", "y"]
    assert list(servable.endpoints["x"].inputs) == sorted(names)
    assert list(servable.endpoints["x"].outputs) == sorted(f"{name}_out" for name in names)
