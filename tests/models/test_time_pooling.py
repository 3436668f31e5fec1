"""Pooling along time against NumPy, on the text alone."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from keras.ops import convert_to_numpy

from models.layers.time_pooling import GlobalTimePooling, KMaxPooling, TimeMaxPool
from serving.runtime.executors.openvino import ov  # which keeps its telemetry out

# Small whole numbers, so that equal values come; [T, C].
TEXT = hnp.arrays(np.float32, st.tuples(st.integers(0, 9), st.just(2)), elements=st.integers(-3, 3))
PADDING = st.integers(0, 5)


def padded(text: np.ndarray, padding: int) -> tuple[np.ndarray, np.ndarray]:
    """[1, T', C] with large numbers behind the text, and the mask that says so."""
    places = max(1, len(text) + padding)
    x = np.full((1, places, 2), 99, np.float32)
    x[0, : len(text)] = text
    return x, np.arange(places)[None] < len(text)


def largest_in_order(column: np.ndarray, k: int) -> np.ndarray:
    places = sorted(np.argsort(-column, kind="stable")[:k])
    return np.pad(column[places], (0, k - len(places)))


@settings(max_examples=25, deadline=None)
@given(TEXT, PADDING, st.integers(1, 4))
def test_k_max_keeps_the_order(text, padding, k) -> None:
    """Kalchbrenner 2014, section 3.2."""
    x, mask = padded(text, padding)
    found = convert_to_numpy(KMaxPooling(k)(x, mask=mask))[0]
    wanted = np.stack([largest_in_order(column, k) for column in text.T], -1)
    np.testing.assert_array_equal(found, wanted)


def test_openvino_takes_the_same_of_equal_values(tmp_path) -> None:
    """Behind a ReLU many are 0, and which of them is taken moves the others."""
    layer = KMaxPooling(4)
    specs = [tf.TensorSpec((None, None, 3), name="x"), tf.TensorSpec((None, None), tf.bool, "mask")]
    module = tf.Module()
    module.call = tf.function(lambda x, mask: {"y": layer(x, mask=mask)}, input_signature=specs)
    tf.saved_model.save(module, str(tmp_path), module.call.get_concrete_function())
    compiled = ov.Core().compile_model(ov.convert_model(tmp_path), "CPU")
    rng = np.random.default_rng(0)
    for places in range(1, 60, 3):
        x = np.maximum(rng.integers(-3, 3, (2, places, 3)), 0).astype(np.float32)
        mask = np.arange(places)[None] < rng.integers(0, places + 1, (2, 1))
        (found,) = compiled({"x": x, "mask": mask}).values()
        np.testing.assert_array_equal(found, convert_to_numpy(layer(x, mask=mask)))


def test_k_max_by_hand() -> None:
    x = np.array([3, 9, 1, 7, 9, 2], np.float32)[None, :, None]
    assert convert_to_numpy(KMaxPooling(3)(x)).ravel().tolist() == [9, 7, 9]


@settings(max_examples=25, deadline=None)
@given(TEXT, PADDING, st.sampled_from(["avg", "max", "last"]))
def test_global_pooling_is_that_of_the_text(text, padding, pooling) -> None:
    x, mask = padded(text, padding)
    found = convert_to_numpy(GlobalTimePooling(pooling)(x, mask=mask))[0]
    of = {"avg": lambda t: t.mean(axis=0), "max": lambda t: t.max(axis=0), "last": lambda t: t[-1]}
    wanted = of[pooling](text) if len(text) else np.zeros(2)
    np.testing.assert_allclose(found, wanted, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(TEXT, PADDING, st.sampled_from([(3, 2), (3, 3), (2, 1)]))
def test_windows_start_with_the_text(text, padding, sizes) -> None:
    pool_size, stride = sizes
    layer = TimeMaxPool(pool_size, stride)
    x, mask = padded(text, padding)
    found = convert_to_numpy(layer(x, mask=mask))[0]
    kept = layer.compute_mask(x, mask)[0]
    wanted = [text[t : t + pool_size].max(axis=0) for t in range(0, len(text), stride)]
    np.testing.assert_array_equal(found[kept], np.reshape(wanted, (-1, 2)))
    assert not found[~kept].any()
    if not padding and len(text):
        np.testing.assert_array_equal(layer(x), found[None])


def test_kerass_own_masks_do() -> None:
    """A mask that a Keras layer attached is read, handed on where positions are left, and ends."""
    inputs = keras.Input((None, 2))
    x = TimeMaxPool(2, 2)(keras.layers.Masking()(inputs))
    model = keras.Model(inputs, [GlobalTimePooling("avg")(x), KMaxPooling(2)(x)])
    text = np.array([[[1, 1], [2, 5], [4, 3], [0, 0], [0, 0], [0, 0]]], np.float32)
    mean, largest = model(text)
    np.testing.assert_allclose(mean, [[3, 4]])
    np.testing.assert_allclose(largest, [[[2, 5], [4, 3]]])


def test_another_pooling_is_refused() -> None:
    with pytest.raises(ValueError, match="'avg', 'max' or 'last'"):
        GlobalTimePooling("mean")
