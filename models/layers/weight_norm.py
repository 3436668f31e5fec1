"""Convolution whose filters have a direction and a length of their own."""

import keras
from keras import layers, ops


@keras.saving.register_keras_serializable(package="triptych")
class WeightNormConv1D(layers.Conv1D):
    """Layer: a convolution with filters g v / |v|.  As keras.layers.Conv1D

    Args:    gain: what each filter's length g starts at. 1 keeps the variance of what comes in,
             the square root of 2 keeps it through a ReLU (He 2015, arXiv 1502.01852).
    Source:  Salimans & Kingma 2016, section 2, arXiv 1602.07868.
    Differs: g starts at a number, not at what normalises a first batch (its section 3).
    """

    def __init__(self, filters: int, kernel_size: int, gain: float = 1.0, **kwargs):
        super().__init__(filters, kernel_size, **kwargs)
        self.gain = gain

    def build(self, input_shape):
        super().build(input_shape)
        self.length = self.add_weight(
            name="length",
            shape=(self.filters,),
            initializer=keras.initializers.Constant(self.gain),
        )

    def call(self, inputs):
        padding = self.padding
        if padding == "causal":
            before = self.dilation_rate[0] * (self.kernel_size[0] - 1)
            inputs, padding = ops.pad(inputs, [(0, 0), (before, 0), (0, 0)]), "valid"
        squares = ops.sum(ops.square(self.kernel), axis=(0, 1))
        y = ops.conv(
            inputs,
            self.kernel * (self.length * ops.rsqrt(squares)),
            strides=list(self.strides),
            padding=padding,
            dilation_rate=self.dilation_rate,
        )
        return self.activation(y + self.bias if self.use_bias else y)

    # Keras's convolutions save a kernel and a bias, whatever else there is.
    def save_own_variables(self, store):
        layers.Layer.save_own_variables(self, store)

    def load_own_variables(self, store):
        layers.Layer.load_own_variables(self, store)

    def get_config(self):
        return {**super().get_config(), "gain": self.gain}
