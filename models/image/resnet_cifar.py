"""Residual networks for 32x32 pictures (He 2015, section 4.2, arXiv 1512.03385).

| output | 32x32       | 16x16  | 8x8    |
|--------|-------------|--------|--------|
| layers | 1 + 2n      | 2n     | 2n     |
| filters| 16          | 32     | 64     |

then global average pooling and a K-way fully connected layer: 6n + 2 weighted layers.
"""

import keras
from keras import layers, ops

from models.layers.conv import ConvNorm

VARIANTS = {
    "resnet20": {"blocks": 3},
    "resnet32": {"blocks": 5},
    "resnet44": {"blocks": 7},
    "resnet56": {"blocks": 9},
    "resnet110": {"blocks": 18},
}


@keras.saving.register_keras_serializable(package="triptych")
class IdentityShortcut(layers.Layer):
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
        x = x[:, :: self.stride, :: self.stride, :]
        return ops.pad(x, [(0, 0), (0, 0), (0, 0), (missing // 2, missing - missing // 2)])

    def compute_output_shape(self, input_shape):
        batch, height, width, _ = input_shape
        strided = (size and -(-size // self.stride) for size in (height, width))
        return (batch, *strided, self.filters)

    def get_config(self):
        return {**super().get_config(), "filters": self.filters, "stride": self.stride}


@keras.saving.register_keras_serializable(package="triptych")
class BasicBlock(layers.Layer):
    """Layer: relu(x + F(x)), F two 3x3 convolutions.  [B, H, W, C] -> [B, H/s, W/s, filters]

    Source:  He 2015, figure 2 and equation 1; shortcut "A" (zeros) or "B" (1x1 projection).
    """

    def __init__(self, filters: int, stride: int = 1, shortcut: str = "A", **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.stride = stride
        self.shortcut = shortcut

    def build(self, input_shape):
        dtype = self.dtype_policy
        same = self.stride == 1 and input_shape[-1] == self.filters
        if same:
            self.skip = layers.Identity(dtype=dtype)
        elif self.shortcut == "A":
            self.skip = IdentityShortcut(self.filters, self.stride, dtype=dtype)
        else:
            self.skip = ConvNorm(self.filters, 1, stride=self.stride, activation=None, dtype=dtype)
        self.conv1 = ConvNorm(self.filters, 3, stride=self.stride, dtype=dtype)
        self.conv2 = ConvNorm(self.filters, 3, activation=None, dtype=dtype)
        self.skip.build(input_shape)
        self.conv1.build(input_shape)
        self.conv2.build(self.conv1.compute_output_shape(input_shape))

    def call(self, x, training=None):
        residual = self.conv2(self.conv1(x, training=training), training=training)
        skip = self.skip(x, training=training) if isinstance(self.skip, ConvNorm) else self.skip(x)
        return ops.relu(skip + residual)

    def compute_output_shape(self, input_shape):
        return self.conv1.compute_output_shape(input_shape)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "stride": self.stride,
            "shortcut": self.shortcut,
        }


@keras.saving.register_keras_serializable(package="triptych")
class ResNetCifar(keras.Model):
    """Residual network of 6n + 2 layers.  [B, H, W, C] -> [B, K] logits

    Args:    blocks: n, residual blocks a stage; filters: of the first stage, doubled in each
             next one; shortcut: "A" or "B".
    Source:  He 2015, section 4.2. Trainable parameters at K = 10: n = 3 gives 269,722 with
             option A ("0.27M"), and 2,752 more with option B.
    """

    def __init__(
        self, num_classes: int, blocks: int = 3, filters: int = 16, shortcut: str = "A", **kwargs
    ):
        if shortcut not in ("A", "B"):
            raise ValueError(f"shortcut must be 'A' (zeros) or 'B' (projection), not {shortcut!r}")
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.blocks = blocks
        self.filters = filters
        self.shortcut = shortcut

        self.stem = ConvNorm(filters, 3)
        self.stages = [
            BasicBlock(filters * 2**stage, 2 if stage and not block else 1, shortcut)
            for stage in range(3)
            for block in range(blocks)
        ]
        self.pool = layers.GlobalAveragePooling2D()
        self.head = layers.Dense(num_classes, kernel_initializer="he_normal")

    def call(self, images, training=None):
        x = self.stem(images, training=training)  # [B, H, W, 16]
        for block in self.stages:
            x = block(x, training=training)
        return self.head(self.pool(x))  # [B, H/4, W/4, 64] -> [B, 64] -> [B, K]

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "blocks": self.blocks,
            "filters": self.filters,
            "shortcut": self.shortcut,
        }
