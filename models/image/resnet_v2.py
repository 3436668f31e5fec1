"""Pre-activation residual networks (He 2016, figure 4e, arXiv 1603.05027).

| stage | output  | 50 | 101 | 152 | bottleneck       |
|-------|---------|----|-----|-----|------------------|
| stem  | 112x112 | 7x7 convolution, 64, stride 2, with a bias |
|       | 56x56   | 3x3 max pool, stride 2         |
| 1     | 28x28   | 3  | 3   | 3   | 64, 64, 256      |
| 2     | 14x14   | 4  | 4   | 8   | 128, 128, 512    |
| 3     | 7x7     | 6  | 23  | 36  | 256, 256, 1024   |
| 4     | 7x7     | 3  | 3   | 3   | 512, 512, 2048   |
| head  | 1x1     | BN, ReLU, average pool, K-way fully connected |

BN and ReLU come before each convolution, so that nothing stands in the way of the sum: what
one block adds reaches all later ones as it is. The last block of a stage strides.
"""

import keras
from keras import layers, ops

from models.layers.block import Block
from models.layers.conv import ConvNorm
from models.layers.head import Head, Pooling

VARIANTS = {
    "resnet50v2": {"blocks": (3, 4, 6, 3)},
    "resnet101v2": {"blocks": (3, 4, 23, 3)},
    "resnet152v2": {"blocks": (3, 8, 36, 3)},
}
EXPANSION = 4  # a bottleneck's last layer is four times as wide as its others
EPSILON = 1.001e-5


def norm(block: layers.Layer) -> layers.Layer:
    return layers.BatchNormalization(momentum=0.9, epsilon=EPSILON, dtype=block.dtype_policy)


@keras.saving.register_keras_serializable(package="triptych")
class PreActivationBlock(Block):
    """Layer: shortcut + conv(relu(bn(...))), three times.  [B, H, W, C] -> [B, H/s, W/s, 4 filters]

    Args:    project: a 1x1 convolution on the shortcut. It starts from the first BN and ReLU,
             which so feed both branches; any other shortcut is untouched.
    Source:  He 2016, figure 4e and section 4.1.
    Differs: at stride 2 the shortcut is every second position (as a max pool of 1x1), as in
             Keras's form, where the paper has a projection.
    """

    def __init__(self, filters: int, stride: int = 1, project: bool = False, **kwargs):
        super().__init__(**kwargs)
        dtype = self.dtype_policy
        self.norm = norm(self)
        # A projection never strides itself: on CPUs that corrupts memory (see layers/pointwise.py).
        self.pool = layers.MaxPooling2D(1, stride, dtype=dtype) if stride > 1 else None
        self.skip = (
            layers.Conv2D(EXPANSION * filters, 1, kernel_initializer="he_normal", dtype=dtype)
            if project
            else None
        )
        self.conv1 = ConvNorm(filters, 1, epsilon=EPSILON, dtype=dtype)
        self.conv2 = ConvNorm(filters, 3, stride, padding="torch", epsilon=EPSILON, dtype=dtype)
        self.conv3 = layers.Conv2D(
            EXPANSION * filters, 1, kernel_initializer="he_normal", dtype=dtype
        )

    def call(self, x):
        active = ops.relu(self.norm(x))
        skip = active if self.skip else x
        if self.pool:
            skip = self.pool(skip)
        if self.skip:
            skip = self.skip(skip)
        return skip + self.conv3(self.conv2(self.conv1(active)))


@keras.saving.register_keras_serializable(package="triptych")
class ResNetV2(keras.Model):
    """Pre-activation residual network.  [B, H, W, C] -> [B, K] logits

    Args:    blocks: of each stage; filters: of the first stage, doubled in each next one;
             small_images: a 3x3 stem without stride or pool, for 32x32.
    Source:  He 2016, figure 4e. Parameters: 25,613,800 / 44,675,560 / 60,380,648.
    Differs: the stem, and where a stage strides, are those of keras.applications, whose weights
             fit; its 1x1 convolutions at a block's end and on shortcuts have biases.
    """

    def __init__(
        self,
        num_classes: int,
        blocks: tuple[int, ...] = (3, 4, 6, 3),
        filters: int = 64,
        small_images: bool = False,
        pooling: Pooling = "avg",
        include_top: bool = True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.blocks = tuple(blocks)
        self.filters = filters
        self.small_images = small_images
        self.pooling = pooling
        self.include_top = include_top

        if small_images:
            self.stem = [layers.Conv2D(filters, 3, padding="same", kernel_initializer="he_normal")]
        else:
            self.stem = [
                layers.ZeroPadding2D(3),
                layers.Conv2D(filters, 7, strides=2, kernel_initializer="he_normal"),
                # Not minus infinity: no ReLU has been here, so Keras's zeros may win.
                layers.ZeroPadding2D(1),
                layers.MaxPooling2D(3, 2),
            ]
        self.stages = [
            PreActivationBlock(
                filters * 2**stage,
                stride=2 if block == count - 1 and stage < len(blocks) - 1 else 1,
                project=not block,
            )
            for stage, count in enumerate(blocks)
            for block in range(count)
        ]
        self.norm = norm(self)
        self.head = Head(num_classes, pooling, include_top)

    def call(self, images, training=None):
        x = images
        for layer in self.stem:
            x = layer(x)  # [B, H/4, W/4, 64]
        for block in self.stages:
            x = block(x)
        return self.head(ops.relu(self.norm(x)))  # [B, H/32, W/32, 2048] -> [B, K]

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "blocks": self.blocks,
            "filters": self.filters,
            "small_images": self.small_images,
            "pooling": self.pooling,
            "include_top": self.include_top,
        }
