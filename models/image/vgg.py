"""VGG: nothing but 3x3 convolutions (Simonyan & Zisserman 2015, table 1, arXiv 1409.1556).

| stage | output  | filters | A: 11 | B: 13 | C: 16    | D: 16 | E: 19 |
|-------|---------|---------|-------|-------|----------|-------|-------|
| 1     | 224x224 | 64      | 1     | 2     | 2        | 2     | 2     |
| 2     | 112x112 | 128     | 1     | 2     | 2        | 2     | 2     |
| 3     | 56x56   | 256     | 2     | 2     | 2, a 1x1 | 3     | 4     |
| 4     | 28x28   | 512     | 2     | 2     | 2, a 1x1 | 3     | 4     |
| 5     | 14x14   | 512     | 2     | 2     | 2, a 1x1 | 3     | 4     |
| head  | 7x7     | fully connected 4096, 4096, K            |||||

C is B with a 1x1 at the end of three stages: a ReLU more, and nothing more to see (section 2.3).
Each stage ends with 2x2 max pooling. Two 3x3 see as much as one 5x5, three as much as one 7x7,
with fewer weights and a ReLU more for each (section 2.3).
"""

import keras
from keras import layers, ops

from models.layers.block import Block
from models.layers.head import Head, Pooling

STAGES = {
    "vgg11": (1, 1, 2, 2, 2),
    "vgg13": (2, 2, 2, 2, 2),
    "vgg16": (2, 2, 3, 3, 3),
    "vgg19": (2, 2, 4, 4, 4),
}
VARIANTS = {
    **{name: {"convs": convs} for name, convs in STAGES.items()},
    **{f"{name}_bn": {"convs": convs, "batch_norm": True} for name, convs in STAGES.items()},
    "vgg16_c": {"convs": STAGES["vgg16"], "pointwise": True},
}
MAX_WIDTH = 8  # times the first stage's filters
DROPOUT_RATE = 0.5  # section 3.1


@keras.saving.register_keras_serializable(package="triptych")
class VGGConv(Block):
    """Layer: convolution with a bias, batch norm if asked, ReLU.  [B, H, W, C] -> [.., filters]

    Args:    separable: a depthwise convolution and a 1x1 in the place of the convolution.
    """

    def __init__(
        self,
        filters: int,
        batch_norm: bool = False,
        separable: bool = False,
        kernel_size: int = 3,
        **kwargs,
    ):
        super().__init__(**kwargs)
        dtype = self.dtype_policy
        if separable:
            self.conv = layers.SeparableConv2D(
                filters,
                kernel_size,
                padding="same",
                depthwise_initializer="he_normal",
                pointwise_initializer="he_normal",
                dtype=dtype,
            )
        else:
            self.conv = layers.Conv2D(
                filters, kernel_size, padding="same", kernel_initializer="he_normal", dtype=dtype
            )
        self.norm = (
            layers.BatchNormalization(momentum=0.9, epsilon=1e-5, dtype=dtype)
            if batch_norm
            else None
        )

    def call(self, x):
        x = self.conv(x)
        return ops.relu(self.norm(x) if self.norm else x)


@keras.saving.register_keras_serializable(package="triptych")
class VGG(keras.Model):
    """VGG network.  [B, H, W, C] -> [B, K] logits

    Args:    convs: in each stage; filters: of the first stage, doubled in each next one up to
             eightfold; units: of the two fully connected layers; separable: depthwise and 1x1
             convolutions in the place of all but the first; pointwise: the third convolution of a
             stage is 1x1; pooling: "avg" or "max" takes the
             place of the flattening and the two layers, and most of the weights;
             small_images: for 32x32, whose last map is 1x1: the two layers have 512 units.
    Source:  Simonyan & Zisserman 2015, table 1; table 2 counts 133, 133, 138, 144 million.
    Differs: weights start as in He 2015, not from a trained smaller network (section 3.1).
    """

    def __init__(
        self,
        num_classes: int,
        convs: tuple[int, ...] = (2, 2, 3, 3, 3),
        filters: int = 64,
        units: int = 4096,
        batch_norm: bool = False,
        separable: bool = False,
        pointwise: bool = False,
        small_images: bool = False,
        pooling: Pooling = None,
        include_top: bool = True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.convs = tuple(convs)
        self.filters = filters
        self.units = units
        self.batch_norm = batch_norm
        self.separable = separable
        self.pointwise = pointwise
        self.small_images = small_images
        self.pooling = pooling
        self.include_top = include_top

        widths = [filters * min(2**stage, MAX_WIDTH) for stage in range(len(convs))]
        self.stages = [
            [
                VGGConv(
                    width,
                    batch_norm,
                    separable=separable and (stage > 0 or conv > 0),
                    kernel_size=1 if pointwise and conv == 2 else 3,
                )
                for conv in range(count)
            ]
            for stage, (width, count) in enumerate(zip(widths, convs, strict=True))
        ]
        self.pools = [layers.MaxPooling2D(2) for _ in convs]
        self.fc = []
        if include_top and pooling is None:
            units = units // 8 if small_images else units
            self.flatten = layers.Flatten()
            self.fc = [layers.Dense(units, "relu", kernel_initializer="he_normal") for _ in "67"]
            self.dropouts = [layers.Dropout(DROPOUT_RATE) for _ in self.fc]
            self.head = layers.Dense(num_classes)
        else:
            self.head = Head(num_classes, pooling, include_top)

    def call(self, images, training=None):
        x = images
        for convs, pool in zip(self.stages, self.pools, strict=True):
            for conv in convs:
                x = conv(x)
            x = pool(x)
        if self.fc:  # [B, H/32, W/32, 512]
            x = self.flatten(x)
            for fc, dropout in zip(self.fc, self.dropouts, strict=True):
                x = dropout(fc(x))  # [B, 4096]
        return self.head(x)

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "convs": self.convs,
            "filters": self.filters,
            "units": self.units,
            "batch_norm": self.batch_norm,
            "separable": self.separable,
            "pointwise": self.pointwise,
            "small_images": self.small_images,
            "pooling": self.pooling,
            "include_top": self.include_top,
        }
