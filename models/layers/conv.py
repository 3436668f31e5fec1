"""Convolutions with their batch norm and activation: the bricks of most networks here."""

from typing import Literal

import keras
from keras import layers

from models.layers.block import Block
from models.layers.grouped import GroupedConv2D
from models.layers.pointwise import PointwiseConv2D

Padding = Literal["same", "valid", "torch"]


def _before(padding: Padding, kernel_size: int | tuple[int, int], stride: int, dtype):
    """What goes before a convolution, and the padding that it is then told."""
    sizes = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
    if padding != "torch":
        return None, padding
    if sizes == (1, 1) or (stride == 1 and all(size % 2 for size in sizes)):
        return None, "same"  # the same zeros, in one step
    return layers.ZeroPadding2D([(size - 1) // 2 for size in sizes], dtype=dtype), "valid"


@keras.saving.register_keras_serializable(package="triptych")
class ConvNorm(Block):
    """Layer: convolution, batch norm, activation.  [B, H, W, C] -> [B, H/s, W/s, filters]

    The convolution has no bias, as batch norm's beta is one. Weights start as in He 2015
    (arXiv 1502.01852): normal, variance 2 / fan_in.

    Args:    kernel_size: one number or (height, width); activation: a Keras name, or None;
             padding: "same" puts zeros where TensorFlow does, at stride 2 more of them at the
             end; "torch" puts (kernel_size - 1) / 2 on each side, as Caffe and PyTorch;
             scale: False leaves gamma out; zero_scale: gamma starts at 0, so that a residual
             block starts as the identity (Goyal 2017, section 5.1, arXiv 1706.02677).
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
        padding: Padding = "same",
        groups: int = 1,
        use_bias: bool = False,
        momentum: float = 0.9,
        epsilon: float = 1e-5,
        scale: bool = True,
        zero_scale: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.before, padding = _before(padding, kernel_size, stride, self.dtype_policy)
        plain = PointwiseConv2D if kernel_size == 1 else layers.Conv2D
        self.conv = (GroupedConv2D if groups > 1 else plain)(
            filters,
            kernel_size,
            strides=stride,
            padding=padding,
            groups=groups,
            use_bias=use_bias,
            kernel_initializer="he_normal",
            dtype=self.dtype_policy,
        )
        self.norm = layers.BatchNormalization(
            momentum=momentum,
            epsilon=epsilon,
            scale=scale,
            gamma_initializer="zeros" if zero_scale else "ones",
            dtype=self.dtype_policy,
        )
        self.act = layers.Activation(activation or "linear", dtype=self.dtype_policy)

    def call(self, x):
        if self.before:
            x = self.before(x)
        return self.act(self.norm(self.conv(x)))


@keras.saving.register_keras_serializable(package="triptych")
class DepthwiseNorm(Block):
    """Layer: one filter a channel, batch norm, activation.  [B, H, W, C] -> [B, H/s, W/s, C]

    Args:    as of `ConvNorm`.
    Source:  Howard 2017, section 3.1, arXiv 1704.04861.
    """

    def __init__(
        self,
        kernel_size: int,
        stride: int = 1,
        activation: str | None = "relu",
        padding: Padding = "same",
        momentum: float = 0.9,
        epsilon: float = 1e-5,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.before, padding = _before(padding, kernel_size, stride, self.dtype_policy)
        self.conv = layers.DepthwiseConv2D(
            kernel_size,
            strides=stride,
            padding=padding,
            use_bias=False,
            depthwise_initializer="he_normal",
            dtype=self.dtype_policy,
        )
        self.norm = layers.BatchNormalization(
            momentum=momentum, epsilon=epsilon, dtype=self.dtype_policy
        )
        self.act = layers.Activation(activation or "linear", dtype=self.dtype_policy)

    def call(self, x):
        if self.before:
            x = self.before(x)
        return self.act(self.norm(self.conv(x)))
