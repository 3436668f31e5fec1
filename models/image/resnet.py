"""Residual networks for ImageNet (He 2015, table 1, arXiv 1512.03385), ResNeXt and SE-ResNet.

| stage | output  | 18      | 34      | 50, 101, 152                         |
|-------|---------|---------|---------|--------------------------------------|
| stem  | 112x112 | 7x7, 64, stride 2                                        |
|       | 56x56   | 3x3 max pool, stride 2                                   |
| 1     | 56x56   | 2 basic | 3 basic | 3 bottlenecks 64, 64, 256            |
| 2     | 28x28   | 2       | 4       | 4, 4, 8 bottlenecks 128, 128, 512    |
| 3     | 14x14   | 2       | 6       | 6, 23, 36 bottlenecks 256, 256, 1024 |
| 4     | 7x7     | 2       | 3       | 3 bottlenecks 512, 512, 2048         |
| head  | 1x1     | average pool, K-way fully connected                      |
"""

from typing import Literal

import keras
from keras import layers, ops

from models.layers.block import Block
from models.layers.conv import ConvNorm
from models.layers.head import Head, Pooling
from models.layers.squeeze_excite import SqueezeExcite

VARIANTS = {
    "resnet18": {"blocks": (2, 2, 2, 2), "bottleneck": False},
    "resnet34": {"blocks": (3, 4, 6, 3), "bottleneck": False},
    "resnet50": {"blocks": (3, 4, 6, 3)},
    "resnet101": {"blocks": (3, 4, 23, 3)},
    "resnet152": {"blocks": (3, 8, 36, 3)},
}
# Xie 2017, table 1, arXiv 1611.05431: 32 groups of 4 channels in the first stage.
RESNEXT = {
    "resnext50_32x4d": {
        **VARIANTS["resnet50"],
        "cardinality": 32,
        "group_width": 4,
        "stride_on": "3x3",
    },
}
# Hu 2018, table 1, arXiv 1709.01507: r = 16.
SE_RESNET = {"se_resnet50": {**VARIANTS["resnet50"], "reduction": 16}}
EXPANSION = 4  # a bottleneck's last layer is four times as wide as its others
StrideOn = Literal["1x1", "3x3"]


@keras.saving.register_keras_serializable(package="triptych")
class ResidualBlock(Block):
    """Layer: relu(shortcut(x) + F(x)).  [B, H, W, C] -> [B, H/s, W/s, filters]

    F is two 3x3 convolutions, or with `inner` filters a bottleneck: 1x1, 3x3, 1x1 (He 2015,
    figure 5). A shortcut that changes the shape is a 1x1 convolution (option B).

    Args:    inner: of the bottleneck, None: basic; cardinality: groups of the 3x3 convolution
             (Xie 2017, figure 3c); stride_on: where a bottleneck strides; reduction: of squeeze
             and excitation before the sum (Hu 2018, figure 3), or None.
    """

    def __init__(
        self,
        filters: int,
        inner: int | None = None,
        stride: int = 1,
        project: bool = False,
        cardinality: int = 1,
        stride_on: StrideOn = "1x1",
        reduction: int | None = None,
        zero_scale: bool = False,
        epsilon: float = 1e-5,
        **kwargs,
    ):
        super().__init__(**kwargs)

        def conv(filters, kernel_size, stride=1, **options):
            options = {"padding": "torch", "epsilon": epsilon, "dtype": self.dtype_policy} | options
            return ConvNorm(filters, kernel_size, stride, **options)

        last = {"activation": None, "zero_scale": zero_scale}
        self.skip = conv(filters, 1, stride, activation=None) if project else None
        if inner is None:
            self.convs = [conv(filters, 3, stride), conv(filters, 3, **last)]
        else:
            first, second = (stride, 1) if stride_on == "1x1" else (1, stride)
            self.convs = [
                conv(inner, 1, first),
                conv(inner, 3, second, groups=cardinality),
                conv(filters, 1, **last),
            ]
        self.gate = (
            SqueezeExcite(filters // reduction, dtype=self.dtype_policy) if reduction else None
        )

    def call(self, x):
        skip = self.skip(x) if self.skip else x
        for conv in self.convs:
            x = conv(x)
        return ops.relu(skip + (self.gate(x) if self.gate else x))


@keras.saving.register_keras_serializable(package="triptych")
class ResNet(keras.Model):
    """Residual network.  [B, H, W, C] -> [B, K] logits

    Args:    blocks: of each stage; filters: of the first stage's 3x3 convolutions, doubled in
             each next one; cardinality, group_width: groups of the 3x3 convolution, and channels
             of each in the first stage; stride_on: "1x1" as the paper (v1), or "3x3" as Torch's
             (v1.5, half a point better); zero_scale: each block starts as the identity;
             small_images: a 3x3 stem without stride or pool, for 32x32.
    Source:  He 2015, table 1. Trainable parameters: 11,689,512 (18) to 60,192,808 (152).
    Differs: small_images is not the paper's form for CIFAR-10; that is resnet_cifar.
    """

    def __init__(
        self,
        num_classes: int,
        blocks: tuple[int, ...] = (3, 4, 6, 3),
        bottleneck: bool = True,
        filters: int = 64,
        cardinality: int = 1,
        group_width: int | None = None,
        stride_on: StrideOn = "1x1",
        reduction: int | None = None,
        zero_scale: bool = False,
        epsilon: float = 1e-5,
        small_images: bool = False,
        pooling: Pooling = "avg",
        include_top: bool = True,
        **kwargs,
    ):
        if stride_on not in ("1x1", "3x3"):
            raise ValueError(f"stride_on must be '1x1' (v1) or '3x3' (v1.5), not {stride_on!r}")
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.blocks = tuple(blocks)
        self.bottleneck = bottleneck
        self.filters = filters
        self.cardinality = cardinality
        self.group_width = group_width
        self.stride_on = stride_on
        self.reduction = reduction
        self.zero_scale = zero_scale
        self.epsilon = epsilon
        self.small_images = small_images
        self.pooling = pooling
        self.include_top = include_top

        kernel_size, stride = (3, 1) if small_images else (7, 2)
        self.stem = ConvNorm(filters, kernel_size, stride, padding="torch", epsilon=epsilon)
        # Zeros are as good as minus infinity here: what comes out of a ReLU is above neither.
        self.pad = None if small_images else layers.ZeroPadding2D(1)
        self.pool = None if small_images else layers.MaxPooling2D(3, 2)
        width = cardinality * (group_width or filters)
        self.stages = [
            ResidualBlock(
                filters * 2**stage * (EXPANSION if bottleneck else 1),
                inner=width * 2**stage if bottleneck else None,
                stride=2 if stage and not block else 1,
                project=not block and (stage > 0 or bottleneck),
                cardinality=cardinality,
                stride_on=stride_on,
                reduction=reduction,
                zero_scale=zero_scale,
                epsilon=epsilon,
            )
            for stage, count in enumerate(blocks)
            for block in range(count)
        ]
        self.head = Head(num_classes, pooling, include_top)

    def call(self, images, training=None):
        x = self.stem(images)  # [B, H/2, W/2, 64]
        if self.pool:
            x = self.pool(self.pad(x))  # [B, H/4, W/4, 64]
        for block in self.stages:
            x = block(x)
        return self.head(x)  # [B, H/32, W/32, 2048] -> [B, K]

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "blocks": self.blocks,
            "bottleneck": self.bottleneck,
            "filters": self.filters,
            "cardinality": self.cardinality,
            "group_width": self.group_width,
            "stride_on": self.stride_on,
            "reduction": self.reduction,
            "zero_scale": self.zero_scale,
            "epsilon": self.epsilon,
            "small_images": self.small_images,
            "pooling": self.pooling,
            "include_top": self.include_top,
        }
