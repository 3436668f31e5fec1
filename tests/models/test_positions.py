"""The last maps of a network, and what is between them and the classes."""

import keras
import pytest
from keras import layers

import models
from models.graph import shapes_only, steps, unroll
from models.positions import class_weights, last_maps, token_vectors

TEXT = {"vocabulary_size": 80}


@pytest.mark.parametrize(
    ("name", "options", "sizes", "averaged"),
    [
        ("resnet20", {}, [(8, 8, 64)], True),
        ("lenet5", {}, [(5, 5, 16)], False),  # flattened
        ("mobilenet_v2", {}, [(7, 7, 1280)], True),
        ("frequency_cnn", {}, [(None, 4, 64)], False),  # before its frequencies become one
        ("tc_resnet8", {}, [(13, 1, 48)], True),  # has none
        ("kim_cnn", TEXT, [(None, 100)] * 3, False),  # each width is pooled by itself
        ("gated_cnn", TEXT, [(None, 128)], False),
        ("vdcnn_9", TEXT, [(8, 512)], False),  # not the k largest values, which stand elsewhere
    ],
)
def test_they_are_what_has_positions_last(name, options, sizes, averaged) -> None:
    shape = models.ARCHITECTURES[name].input_shape
    with shapes_only():
        network = models.create_model(name, 10, **options)
        trace = steps(unroll(network, shape, "int32" if options else "float32"))
    maps = last_maps(trace)
    assert [tuple(x.shape[1:]) for x in maps] == sizes
    weights = class_weights(trace, maps[0]) if len(maps) == 1 else None
    assert (weights is not None) == averaged
    assert bool(token_vectors(trace)) == bool(options)


def test_of_two_that_hang_on_one_another_the_earlier_counts() -> None:
    x = inputs = layers.Input((6, 5, 3))
    x = layers.Conv2D(4, 3, activation="relu")(x)
    places = layers.Conv2D(1, 1, activation="sigmoid")(x)
    read = layers.Flatten()(layers.GlobalAveragePooling2D()(x))
    read = layers.Concatenate()([read, layers.Flatten()(places)])
    trace = steps(keras.Model(inputs, layers.Dense(3)(read)))
    assert [tuple(x.shape[1:]) for x in last_maps(trace)] == [(4, 3, 4)]


def test_a_network_without_positions_is_refused() -> None:
    network = keras.Sequential([layers.Input((6, 5, 3)), layers.Flatten(), layers.Dense(3)])
    with pytest.raises(ValueError, match="no layer of the network has positions"):
        last_maps(steps(unroll(network, (6, 5, 3))))


def test_a_layer_between_average_and_classes_is_no_class_activation() -> None:
    x = inputs = layers.Input((6, 5, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(x))
    trace = steps(keras.Model(inputs, layers.Dense(3)(layers.Dense(8, "relu")(x))))
    assert class_weights(trace, last_maps(trace)[0]) is None
