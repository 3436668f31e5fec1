"""Residual networks for 32x32 pictures (He 2015, section 4.2, arXiv 1512.03385).

| output | 32x32       | 16x16  | 8x8    |
|--------|-------------|--------|--------|
| layers | 1 + 2n      | 2n     | 2n     |
| filters| 16          | 32     | 64     |

then global average pooling and a K-way fully connected layer: 6n + 2 weighted layers.
"""

import keras
from keras import layers, ops

from models.layers.block import Block
from models.layers.conv import ConvNorm, Padding
from models.layers.head import Head, Pooling

VARIANTS = {
    "resnet20": {"blocks": 3},
    "resnet32": {"blocks": 5},
    "resnet44": {"blocks": 7},
    "resnet56": {"blocks": 9},
    "resnet110": {"blocks": 18},
}


@keras.saving.register_keras_serializable(package="triptych")
class IdentityShortcut(Block):
    """Layer: each `stride`th position, new channels zero.  [B, H, W, C] -> [B, H/s, W/s, filters]

    Source:  He 2015, section 3.3, option A. It has no weights.
    Differs: the zeros go on both sides of the channels, as in the authors' Torch successors;
             the paper doesn't say where.
    """

    def __init__(self, filters: int, stride: int = 1, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.stride = stride

    def call(self, x):
        missing = self.filters - x.shape[-1]
        x = x[:, :: self.stride, :: self.stride]
        return ops.pad(x, [(0, 0), (0, 0), (0, 0), (missing // 2, missing - missing // 2)])


@keras.saving.register_keras_serializable(package="triptych")
class BasicBlock(Block):
    """Layer: relu(x + F(x)), F two 3x3 convolutions.  [B, H, W, C] -> [B, H/s, W/s, filters]

    Args:    project: whether the shortcut has to change the shape.
    Source:  He 2015, figure 2 and equation 1; shortcut "A" (zeros) or "B" (1x1 projection).
    """

    def __init__(
        self,
        filters: int,
        stride: int = 1,
        shortcut: str = "A",
        project: bool = False,
        padding: Padding = "same",
        **kwargs,
    ):
        super().__init__(**kwargs)
        dtype = self.dtype_policy
        if not project:
            self.skip = layers.Identity(dtype=dtype)
        elif shortcut == "A":
            self.skip = IdentityShortcut(filters, stride, dtype=dtype)
        else:
            self.skip = ConvNorm(filters, 1, stride=stride, activation=None, dtype=dtype)
        self.conv1 = ConvNorm(filters, 3, stride=stride, padding=padding, dtype=dtype)
        self.conv2 = ConvNorm(filters, 3, activation=None, dtype=dtype)

    def call(self, x):
        return ops.relu(self.skip(x) + self.conv2(self.conv1(x)))


@keras.saving.register_keras_serializable(package="triptych")
class ResNetCifar(keras.Model):
    """Residual network of 6n + 2 layers.  [B, H, W, C] -> [B, K] logits

    Args:    blocks: n, residual blocks a stage; filters: of the first stage, doubled in each
             next one; shortcut: "A" or "B"; padding: "torch" for PyTorch's weights.
    Source:  He 2015, section 4.2. Trainable parameters at K = 10: n = 3 gives 269,722 with
             option A ("0.27M"), and 2,752 more with option B.
    """

    def __init__(
        self,
        num_classes: int,
        blocks: int = 3,
        filters: int = 16,
        shortcut: str = "A",
        padding: Padding = "same",
        pooling: Pooling = "avg",
        include_top: bool = True,
        **kwargs,
    ):
        if shortcut not in ("A", "B"):
            raise ValueError(f"shortcut must be 'A' (zeros) or 'B' (projection), not {shortcut!r}")
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.blocks = blocks
        self.filters = filters
        self.shortcut = shortcut
        self.padding = padding
        self.pooling = pooling
        self.include_top = include_top

        self.stem = ConvNorm(filters, 3)
        self.stages = [
            BasicBlock(
                filters * 2**stage,
                stride=2 if stage and not block else 1,
                shortcut=shortcut,
                project=bool(stage) and not block,
                padding=padding,
            )
            for stage in range(3)
            for block in range(blocks)
        ]
        self.head = Head(num_classes, pooling, include_top, kernel_initializer="he_normal")

    def call(self, images, training=None):
        x = self.stem(images)  # [B, H, W, 16]
        for block in self.stages:
            x = block(x)
        return self.head(x)  # [B, H/4, W/4, 64] -> [B, K]

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "blocks": self.blocks,
            "filters": self.filters,
            "shortcut": self.shortcut,
            "padding": self.padding,
            "pooling": self.pooling,
            "include_top": self.include_top,
        }
