"""The last maps of a network, and what is between them and the classes."""

import keras
import pytest
from keras import layers

import models
from models.graph import shapes_only, steps, unroll
from models.positions import averaged, last_maps, token_vectors

TEXT = {"vocabulary_size": 80}


@pytest.mark.parametrize(
    ("name", "options", "sizes", "mean"),
    [
        ("resnet20", {}, [(8, 8, 64)], (8, 8, 64)),
        ("lenet5", {}, [(5, 5, 16)], None),  # flattened
        ("mobilenet_v2", {}, [(7, 7, 1280)], (7, 7, 1280)),
        # before its frequencies become one
        ("frequency_cnn", {}, [(None, 4, 64)], (None, 1, 128)),
        ("tc_resnet8", {}, [(13, 1, 48)], (13, 1, 48)),  # has none
        ("cnn_one_fpool3", {}, [(1, 11, 54)], None),  # along frequency alone
        ("kim_cnn", TEXT, [(None, 100)] * 3, None),  # each width is pooled by itself
        ("gated_cnn", TEXT, [(None, 128)], None),
        ("vdcnn_9", TEXT, [(128, 512)], None),  # not the k largest values, which stand elsewhere
    ],
)
def test_they_are_what_has_positions_last(name, options, sizes, mean) -> None:
    shape = models.ARCHITECTURES[name].input_shape
    with shapes_only():
        network = models.create_model(name, 10, **options)
        trace = steps(unroll(network, shape, "int32" if options else "float32"))
    maps = last_maps(trace)
    assert [tuple(x.shape[1:]) for x in maps] == sizes
    ending = averaged(trace)
    assert (ending and tuple(ending.maps.shape[1:])) == mean
    if ending is not None:
        assert ending.weights.shape == (mean[-1], 10)
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
    assert averaged(trace) is None


def test_what_has_no_maps_has_no_average_of_them() -> None:
    inputs = layers.Input((6,))
    assert (
        averaged(steps(keras.Model(inputs, layers.Dense(3)(layers.Dropout(0.5)(inputs))))) is None
    )
