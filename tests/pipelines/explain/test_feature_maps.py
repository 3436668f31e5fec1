"""Filters whose best inputs were planted."""

import keras
import numpy as np
import pytest
from keras import layers

from models.geometry import Field
from models.graph import steps
from models.receptive import receptive_fields
from pipelines.explain.feature_maps import Excitement, degrees, filters, patch, strongest

RNG = np.random.default_rng(0)


def test_filters_come_one_after_the_other() -> None:
    image, sound = keras.Input((8, 8, 3)), keras.Input((8, 6))
    conv, wide, deep = layers.Conv2D(5, (3, 2)), layers.Conv1D(4, 3), layers.DepthwiseConv2D(3)
    of_image = steps(keras.Model(image, layers.Dense(3)(conv(deep(image)))))
    of_sound = steps(keras.Model(sound, wide(sound)))
    assert filters(of_image[1]).shape == (5, 3, 2, 3)
    np.testing.assert_array_equal(filters(of_image[1])[4, ..., 1], conv.kernel.numpy()[:, :, 1, 4])
    assert filters(of_image[0]).shape == (3, 3, 3, 1)
    np.testing.assert_array_equal(filters(of_image[0])[1, ..., 0], deep.kernel.numpy()[:, :, 1, 0])
    assert filters(of_sound[0]).shape == (4, 3, 6)
    with pytest.raises(ValueError, match="only convolutions have filters"):
        filters(of_image[2])


def test_row_156_degrees_of_50_maps_of_11x11_are_sums() -> None:
    maps = RNG.normal(size=(11, 11, 50))
    np.testing.assert_allclose(degrees(maps), [maps[..., k].sum() for k in range(50)])


def test_the_inputs_that_excite_a_filter_most_are_where_its_pattern_is() -> None:
    pattern = RNG.choice([-1.0, 1.0], (2, 3, 3, 1)).astype(np.float32)
    pictures = RNG.uniform(-0.2, 0.2, (30, 12, 10, 1)).astype(np.float32)
    planted = {0: [(4, (2, 5), 3.0), (17, (8, 0), 2.0)], 1: [(29, (0, 7), 3.0), (5, (6, 6), 2.0)]}
    for unit, places in planted.items():
        for index, (y, x), strength in places:
            pictures[index, y : y + 3, x : x + 3] = strength * pattern[unit]
    image = keras.Input((12, 10, 1))
    conv = layers.Conv2D(2, 3, use_bias=False)
    model = keras.Model(image, conv(image))
    conv.set_weights([np.moveaxis(pattern, 0, -1)])
    batches = np.split(pictures, [7, 14, 29])
    found = strongest(model.predict_on_batch, batches, [0, 1], count=2)
    done = steps(model)
    fields = receptive_fields(done)[id(done[-1].output)]
    maps = model.predict_on_batch(pictures)
    for unit, places in planted.items():
        assert [(each.index, each.position) for each in found[unit]] == [p[:2] for p in places]
        for each, (index, _, strength) in zip(found[unit], places, strict=True):
            assert each.value == pytest.approx(9 * strength, rel=1e-5)
            assert each.degree == pytest.approx(maps[index, ..., unit].sum(), rel=1e-4)
            cut = patch(pictures[index], each.position, fields)
            np.testing.assert_array_equal(cut, strength * pattern[unit])


def test_row_158_the_higher_the_layer_the_larger_the_pattern() -> None:
    """And what a position sees is all that counts: the patch alone excites it as much."""
    keras.utils.set_random_seed(0)
    x = image = keras.Input((20, 20, 1))
    for _ in range(2):
        x = layers.MaxPooling2D(2)(layers.Conv2D(2, 3, activation="relu")(x))
    model = keras.Model(image, layers.Conv2D(2, 3)(x))
    done = steps(model)
    fields = receptive_fields(done)
    convs = [step.operation for step in done if isinstance(step.operation, layers.Conv2D)]
    outputs = [step.output for step in done if step.operation in convs]
    features = keras.Model(model.input, [conv.output for conv in convs])
    pictures = RNG.uniform(size=(8, 20, 20, 1)).astype(np.float32)
    sizes = []
    for number, tensor in enumerate(outputs):
        see = lambda batch, n=number: features.predict_on_batch(batch)[n]  # noqa: E731
        (found,) = strongest(see, [pictures], [0], 1)[0]
        cut = patch(pictures[found.index], found.position, fields[id(tensor)])
        views = zip(fields[id(tensor)], found.position, strict=True)
        rows, columns = (field.at(place) for field, place in views)
        alone = np.zeros((1, 20, 20, 1), np.float32)
        alone[0, rows.start : rows.stop, columns.start : columns.stop] = cut
        assert see(alone)[(0, *found.position, 0)] == pytest.approx(found.value, rel=1e-5)
        sizes.append(cut.shape[0])
    assert sizes == [3, 8, 18]


def test_a_patch_of_a_text_is_an_n_gram() -> None:
    tokens = np.array([5, 9, 2, 7, 0, 0])
    assert patch(tokens, (1,), [Field(3, 1)]).tolist() == [9, 2, 7]
    assert patch(tokens, (4,), [Field(3, 1)], outside=-1).tolist() == [0, 0, -1]


def test_a_patch_over_the_edge_is_filled_and_one_of_all_is_all() -> None:
    picture = np.arange(20.0).reshape(5, 4, 1)
    corner = patch(picture, (0, 0), [Field(3, 1, -1), Field(3, 1, -1)], outside=-1)
    np.testing.assert_array_equal(corner[..., 0], [[-1, -1, -1], [-1, 0, 1], [-1, 4, 5]])
    everything = [Field(9, 0, -3), Field(9, 0, -3)]
    np.testing.assert_array_equal(patch(picture, (), everything), picture)


def test_a_neuron_has_no_place() -> None:
    outputs = {"a": np.array([[1.0, 5.0], [3.0, 2.0]])}
    found = strongest(lambda key: outputs[key], ["a"], [0], count=1)
    assert found == {0: [Excitement(1, (), 3.0, 3.0)]}
