"""A network with averages in place of maxima: each input has its share in what comes out."""

import keras
from keras import layers

from models.graph import replay

AVERAGES = {
    layers.MaxPooling1D: layers.AveragePooling1D,
    layers.MaxPooling2D: layers.AveragePooling2D,
    layers.GlobalMaxPooling1D: layers.GlobalAveragePooling1D,
    layers.GlobalMaxPooling2D: layers.GlobalAveragePooling2D,
}


def average_pooling(model: keras.Model) -> keras.Model:
    """An unrolled network, the same weights, each max pooling an average one.

    Source:  Gatys 2016, section 2, doi 10.1109/CVPR.2016.265: "slightly more appealing results".
    """

    def call(operation, *args, **kwargs):
        kind = AVERAGES.get(type(operation))
        if kind is None:
            return operation(*args, **kwargs)
        config = {key: value for key, value in operation.get_config().items() if key != "name"}
        return kind.from_config(config)(*args)

    return replay(model, call)
