"""A convolution with its batch norm and activation: the brick of most networks here."""

import keras
from keras import layers


@keras.saving.register_keras_serializable(package="triptych")
class ConvNorm(layers.Layer):
    """Layer: convolution, batch norm, activation.  [B, H, W, C] -> [B, H/s, W/s, filters]

    The convolution has no bias, as batch norm's beta is one. Weights start as in He 2015
    (arXiv 1502.01852): normal, variance 2 / fan_in.

    Args:    kernel_size: one number or (height, width); activation: a Keras name, or None.
    Source:  Ioffe & Szegedy 2015, section 3.2, arXiv 1502.03167.
    Differs: running statistics keep 0.9 of the old a step (Keras: 0.99), so that they are
             good after some hundred steps.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, int],
        stride: int = 1,
        activation: str | None = "relu",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = kernel_size
        self.stride = stride
        self.activation = activation
        self.conv = layers.Conv2D(
            filters,
            kernel_size,
            strides=stride,
            padding="same",
            use_bias=False,
            kernel_initializer="he_normal",
            dtype=self.dtype_policy,
        )
        self.norm = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, dtype=self.dtype_policy)
        self.act = layers.Activation(activation or "linear", dtype=self.dtype_policy)

    def build(self, input_shape):
        self.conv.build(input_shape)
        self.norm.build(self.conv.compute_output_shape(input_shape))

    def call(self, x, training=None):
        return self.act(self.norm(self.conv(x), training=training))

    def compute_output_shape(self, input_shape):
        return self.conv.compute_output_shape(input_shape)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "stride": self.stride,
            "activation": self.activation,
        }
