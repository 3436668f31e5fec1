"""SavedModels that triptych did not write: each endpoint answers as TensorFlow's own call of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from serving.errors import BadVersion, InvalidInput
from serving.runtime.cache import Cache
from serving.runtime.endpoint import STRING
from serving.runtime.opening import Wish
from serving.runtime.servable import Servable

RNG = np.random.default_rng(0)
WEIGHTS = RNG.normal(size=(4, 3)).astype(np.float32)

Save = Callable[..., Path]


def spec(shape: Any, dtype: tf.DType = tf.float32) -> tf.TensorSpec:
    return tf.TensorSpec(shape, dtype)


def floats(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Saves signatures, each a function and the specs of its inputs; the folder of version 7."""

    def save(**signatures: tuple[Callable[..., Any], dict[str, tf.TensorSpec]]) -> Path:
        module = tf.Module()
        module.weights = tf.Variable(WEIGHTS)
        concrete = {}
        for name, (function, inputs) in signatures.items():
            traced = tf.function(lambda _call=function, **given: _call(module.weights, **given))
            named = {key: tf.TensorSpec(s.shape, s.dtype, key) for key, s in inputs.items()}
            concrete[name] = traced.get_concrete_function(**named)
        folder = tmp_path / "theirs" / "7"
        tf.saved_model.save(module, str(folder), signatures=concrete)
        return folder

    return save


def linear(weights: Any, x: Any) -> dict[str, Any]:
    return {"y": tf.nn.relu(x @ weights)}


LINEAR = (linear, {"x": spec([None, 4])})


def run(servable: Servable, **inputs: np.ndarray) -> dict[str, np.ndarray]:
    """As a call of the default endpoint is computed."""
    servable.endpoints[servable.default_endpoint].check(inputs)
    return servable.executor.run(inputs)


def same(found: dict[str, np.ndarray], folder: Path, endpoint: str, **inputs: np.ndarray) -> None:
    wanted = tf.saved_model.load(str(folder)).signatures[endpoint](
        **{name: tf.constant(value) for name, value in inputs.items()}
    )
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        expected = np.asarray(value.numpy())
        assert type(found[name]) is np.ndarray
        assert found[name].shape == expected.shape
        assert found[name].dtype == expected.dtype
        if expected.dtype.kind == "f":
            np.testing.assert_allclose(found[name], expected, atol=1e-5)
        else:
            np.testing.assert_array_equal(found[name], expected)


@pytest.mark.parametrize("executor", ["openvino", "tensorflow", "auto"])
def test_one_input(save, executor) -> None:
    folder = save(serving_default=LINEAR)
    servable = Servable.load(folder, wish=Wish(executor, seconds=0.2))
    assert (servable.name, servable.version) == ("theirs", 7)
    assert servable.manifest is None
    assert list(servable.labels) == []
    assert servable.raw_endpoints == frozenset()
    endpoint = servable.endpoints["serving_default"]
    assert endpoint.batched
    assert endpoint.inputs["x"].shape == (None, 4)
    servable.check_golden()  # of which there are none
    servable.warm_up((1, 8))
    for rows in (1, 5):
        x = floats(rows, 4)
        same(run(servable, x=x), folder, "serving_default", x=x)


@pytest.mark.parametrize("executor", ["openvino", "tensorflow"])
def test_several_inputs_and_outputs(save, executor) -> None:
    """Of several types; names in an order that is nobody's."""

    def both(weights: Any, z: Any, a: Any, flags: Any) -> dict[str, Any]:
        return {
            "z": z @ weights,
            "b": tf.cast(a, tf.float32) + tf.reduce_sum(z, 1, keepdims=True),
            "a": a * 2,
            "any": tf.reduce_any(flags, 1),
        }

    folder = save(
        serving_default=(
            both,
            {
                "z": spec([None, 4]),
                "a": spec([None, 2], tf.int32),
                "flags": spec([None, 3], tf.bool),
            },
        )
    )
    servable = Servable.load(folder, executor)
    assert servable.endpoints["serving_default"].batched
    inputs = {"z": floats(3, 4), "a": np.arange(6, dtype=np.int32).reshape(3, 2)}
    inputs["flags"] = np.array([[False] * 3, [True] * 3, [False, True, False]])
    same(run(servable, **inputs), folder, "serving_default", **inputs)


def twice(weights: Any, x: Any) -> dict[str, Any]:
    y = tf.nn.softmax(x @ weights)
    return {"first": y, "second": y, "given": x}


def swap(weights: Any, a: Any, b: Any) -> dict[str, Any]:
    return {"a": b, "b": a, "y": a @ weights}


def many(weights: Any, x: Any) -> dict[str, Any]:
    return {f"y{i}": x * i for i in range(12)}


FOUR = spec([None, 4])
ODD = {
    "an output under two names, and one that is the input": (twice, {"x": FOUR}),
    "outputs with the names of the wrong inputs": (swap, {"a": FOUR, "b": FOUR}),
    "more outputs than one digit numbers": (many, {"x": FOUR}),
    "an input that nothing uses": (lambda w, x, z: {"y": x @ w}, {"x": FOUR, "z": FOUR}),
}


@pytest.mark.parametrize("executor", ["openvino", "tensorflow", "auto"])
@pytest.mark.parametrize("signature", ODD.values(), ids=ODD)
def test_names_that_are_odd(save, tmp_path, executor, signature) -> None:
    folder = save(serving_default=signature)
    inputs = {name: floats(2, 4) for name in signature[1]}
    for _ in range(2):  # compiled, and then from what was kept
        wish, cache = Wish(executor, seconds=0.1), Cache(tmp_path / "cache")
        servable = Servable.load(folder, wish=wish, cache=cache)
        same(run(servable, **inputs), folder, "serving_default", **inputs)
        assert not servable.report.notes


@pytest.mark.parametrize("executor", ["openvino", "tensorflow"])
@pytest.mark.parametrize(
    ("function", "shape", "given"),
    [
        (linear, [2, 4], (2, 4)),  # a batch of one size only
        (lambda weights, x: {"y": tf.reduce_mean(x)}, [None, 4], (3, 4)),  # one answer for all
        (lambda weights, x: {"y": x + 1}, [], ()),
    ],
    ids=["fixed", "reduced", "scalar"],
)
def test_no_batch_axis(save, executor, function, shape, given) -> None:
    folder = save(serving_default=(function, {"x": spec(shape)}))
    servable = Servable.load(folder, executor)
    assert not servable.endpoints["serving_default"].batched
    assert servable.best_batch_size == 1
    servable.warm_up((1, 8))
    x = np.asarray(floats(*given))
    same(run(servable, x=x), folder, "serving_default", x=x)


def test_strings_are_computed_by_tensorflow_whatever_was_asked_for(save) -> None:
    def count(weights: Any, text: Any) -> dict[str, Any]:
        return {"length": tf.strings.length(text), "upper": tf.strings.upper(text)}

    folder = save(serving_default=(count, {"text": spec([None], tf.string)}))
    for wish in (Wish("openvino"), Wish("auto"), Wish("auto", "auto")):
        servable = Servable.load(folder, wish=wish)
        assert (servable.executor_name, servable.precision) == ("tensorflow", "f32")
        assert servable.endpoints["serving_default"].inputs["text"].dtype == STRING
        text = np.array([b"a", b"\xff\x00b", b""], object)
        found = run(servable, text=text)
        assert found["length"].tolist() == [1, 3, 0]
        same(found, folder, "serving_default", text=text)
        servable.warm_up((1, 8))


@pytest.mark.parametrize("shape", [None, [None, None, 4]])
def test_sizes_that_are_unknown(save, shape) -> None:
    """There is nothing to measure with, so auto takes TensorFlow; OpenVINO serves if asked."""

    def sums(weights: Any, x: Any) -> dict[str, Any]:
        return {"y": tf.reduce_sum(x, -1)}

    folder = save(serving_default=(sums, {"x": spec(shape)}))
    servables = [Servable.load(folder, wish=Wish("auto"))]
    assert servables[0].executor_name == "tensorflow"
    assert servables[0].endpoints["serving_default"].batched == (shape is not None)
    if shape is None:
        with pytest.raises(BadVersion, match=r"(?s)dynamic rank.*try another executor"):
            Servable.load(folder, "openvino")
    else:
        servables.append(Servable.load(folder, "openvino"))
    for servable in servables:
        servable.warm_up((1, 8))
        for given in ((1, 1, 4), (2, 7, 4), (3, 2, 4)):
            x = floats(*given)
            same(run(servable, x=x), folder, "serving_default", x=x)


def test_the_default_is_serving_default_or_else_the_first(save, tmp_path) -> None:
    folder = save(other=LINEAR, alpha=LINEAR)
    assert Servable.load(folder, "tensorflow").default_endpoint == "alpha"
    folder.rename(tmp_path / "1")
    folder = save(alpha=LINEAR, serving_default=LINEAR)
    assert Servable.load(folder, "tensorflow").default_endpoint == "serving_default"


def test_other_endpoints_equal_tensorflows_own_call(save) -> None:
    def embed(weights: Any, x: Any, scale: Any) -> dict[str, Any]:
        return {"b": x * scale, "a": tf.linalg.normalize(x @ weights, axis=1)[0]}

    def describe(weights: Any, name: Any) -> dict[str, Any]:
        return {"text": tf.strings.join(["I am ", name])}

    folder = save(
        serving_default=LINEAR,
        embed=(embed, {"x": spec([None, 4]), "scale": spec([])}),
        describe=(describe, {"name": spec([], tf.string)}),
    )
    servable = Servable.load(folder, "openvino")
    x, scale = floats(3, 4), np.array(2.5, np.float32)
    found = servable.run("embed", {"x": x, "scale": scale})
    same(found, folder, "embed", x=x, scale=scale)
    name = np.array(b"a model", object)
    found = servable.run("describe", {"name": name})
    assert found["text"].tolist() == b"I am a model"
    same(servable.run("serving_default", {"x": x}), folder, "serving_default", x=x)
    with pytest.raises(InvalidInput, match=r"takes float32 \[any, 4\]"):
        servable.run("embed", {"x": floats(3, 5), "scale": scale})
    with pytest.raises(InvalidInput, match=r"no endpoint 'explain'.*'describe', 'embed'"):
        servable.run("explain", {"x": x})


@pytest.mark.parametrize("executor", ["openvino", "tensorflow", "auto"])
def test_what_keras_exports(tmp_path, executor) -> None:
    image = keras.Input((8, 8, 3), name="image")
    extra = keras.Input((2,), name="extra")
    x = keras.layers.Conv2D(4, 3, activation="relu")(image)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Dropout(0.5)(keras.layers.GlobalAveragePooling2D()(x))
    x = keras.layers.Concatenate()([x, extra])
    model = keras.Model([image, extra], keras.layers.Dense(3, activation="softmax")(x))
    folder = tmp_path / "theirs" / "1"
    model.export(folder, verbose=False)
    servable = Servable.load(folder, wish=Wish(executor, seconds=0.2))
    assert servable.default_endpoint == "serving_default"
    endpoint = servable.endpoints["serving_default"]
    assert endpoint.batched
    assert endpoint.inputs.keys() == {"image", "extra"}
    inputs = {"image": floats(5, 8, 8, 3), "extra": floats(5, 2)}
    found = run(servable, **inputs)
    same(found, folder, "serving_default", **inputs)
    wanted = keras.ops.convert_to_numpy(model(list(inputs.values()), training=False))
    (scores,) = found.values()
    np.testing.assert_allclose(scores, wanted, atol=1e-5)


def test_without_signatures_there_is_nothing_to_serve(tmp_path) -> None:
    module = tf.Module()
    module.weights = tf.Variable(WEIGHTS)
    tf.saved_model.save(module, str(tmp_path / "1"))
    with pytest.raises(BadVersion, match=r"no signatures.*signatures="):
        Servable.load(tmp_path / "1")


def test_what_is_compiled_is_not_taken_for_that_of_other_weights(save, tmp_path) -> None:
    """No manifest tells the two apart: their files do."""
    cache = Cache(tmp_path / "cache")
    x = np.ones((1, 4), np.float32)
    folder = save(serving_default=LINEAR)
    first = run(Servable.load(folder, "openvino", cache=cache), x=x)["y"]
    folder.rename(tmp_path / "1")
    doubled = (lambda weights, x: {"y": linear(2 * weights, x)["y"]}, LINEAR[1])
    folder = save(serving_default=doubled)
    second = run(Servable.load(folder, "openvino", cache=cache), x=x)["y"]
    np.testing.assert_allclose(second, 2 * first, rtol=1e-5)
