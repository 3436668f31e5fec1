"""AlexNet (Krizhevsky, Sutskever & Hinton 2012, section 3.5 and figure 2, NeurIPS 25).

| layer | filters | kernel | sees     | after the ReLU          | output    |
|-------|---------|--------|----------|-------------------------|-----------|
| conv1 | 96      | 11x11/4| all      | normalise, 3x3/2 max    | 27x27x96  |
| conv2 | 256     | 5x5    | its GPU  | normalise, 3x3/2 max    | 13x13x256 |
| conv3 | 384     | 3x3    | all      |                         | 13x13x384 |
| conv4 | 384     | 3x3    | its GPU  |                         | 13x13x384 |
| conv5 | 256     | 3x3    | its GPU  | 3x3/2 max               | 6x6x256   |
| fc6   | 4096    |        | all      | dropout                 | 4096      |
| fc7   | 4096    |        | all      | dropout                 | 4096      |
| fc8   | K       |        | all      |                         | K         |

Half of the maps lived on each of two GPUs: a layer that sees its own GPU's alone is a convolution
in 2 groups. Pooling windows of 3 at each 2nd place overlap (section 3.4). conv1 gives 55x55.
"""

import keras
from keras import layers, ops

from models.layers.block import Block
from models.layers.conv import Padding
from models.layers.grouped import GroupedConv2D
from models.layers.head import Head, Pooling
from models.layers.local_response import LocalResponseNorm

VARIANTS = {"alexnet": {}}
TWO_TOWERS = (96, 256, 384, 384, 256)
ONE_TOWER = (64, 192, 384, 256, 256)  # Krizhevsky 2014, arXiv 1404.5997, as in torchvision
KERNEL_SIZES = (11, 5, 3, 3, 3)
GROUPS = (1, 2, 1, 2, 2)
BIASES = (0.0, 1.0, 0.0, 1.0, 1.0)  # 1 feeds the ReLUs something positive to start with (section 5)
NORMALISED = (0, 1)
POOLED = (0, 1, 4)
DROPOUT_RATE = 0.5


def gaussian() -> keras.Initializer:
    """Section 5."""
    return keras.initializers.RandomNormal(stddev=0.01)


@keras.saving.register_keras_serializable(package="triptych")
class AlexNetConv(Block):
    """Layer: convolution, ReLU; some normalise, then pool.  [B, H, W, C] -> [.., filters]

    Args:    bias: to start with.
    Source:  Krizhevsky 2012, sections 3.1 to 3.4. Normalisation comes before pooling; CaffeNet
             has them the other way round.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        stride: int = 1,
        padding: Padding = "same",
        groups: int = 1,
        bias: float = 0.0,
        normalised: bool = False,
        pooled: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        dtype = self.dtype_policy
        self.conv = (GroupedConv2D if groups > 1 else layers.Conv2D)(
            filters,
            kernel_size,
            strides=stride,
            padding=padding,
            groups=groups,
            kernel_initializer=gaussian(),
            bias_initializer=keras.initializers.Constant(bias),
            dtype=dtype,
        )
        self.norm = LocalResponseNorm(2, 2.0, 1e-4, 0.75, dtype=dtype) if normalised else None
        self.pool = layers.MaxPooling2D(3, 2, dtype=dtype) if pooled else None

    def call(self, x):
        x = ops.relu(self.conv(x))
        x = self.norm(x) if self.norm else x
        return self.pool(x) if self.pool else x


@keras.saving.register_keras_serializable(package="triptych")
class FullyConnected(Block):
    """Layer: the three fully connected layers.  [B, H, W, C] -> [B, K]

    Args:    units: of fc6 and fc7; bias: of theirs, to start with.
    Source:  Krizhevsky 2012, section 3.5; dropout of what fc6 and fc7 give: section 4.2.
    """

    def __init__(self, num_classes: int, units: int = 4096, bias: float = 1.0, **kwargs):
        super().__init__(**kwargs)
        dtype = self.dtype_policy
        self.flatten = layers.Flatten(dtype=dtype)
        self.fc = [
            layers.Dense(
                units,
                "relu",
                kernel_initializer=gaussian(),
                bias_initializer=keras.initializers.Constant(bias),
                dtype=dtype,
            )
            for _ in "67"
        ]
        self.dropouts = [layers.Dropout(DROPOUT_RATE, dtype=dtype) for _ in self.fc]
        self.logits = layers.Dense(num_classes, kernel_initializer=gaussian(), dtype=dtype)

    def call(self, x):
        x = self.flatten(x)
        for fc, dropout in zip(self.fc, self.dropouts, strict=True):
            x = dropout(fc(x))
        return self.logits(x)


@keras.saving.register_keras_serializable(package="triptych")
class AlexNet(keras.Model):
    """AlexNet.  [B, 224, 224, C] -> [B, K] logits

    Args:    filters: of the five convolutions, if not the paper's; units: of fc6 and fc7;
             one_tower: the form for one GPU that torchvision has: fewer filters, no groups, no
             normalisation; stem_padding: zeros around the picture, 2 for 224x224, 0 for
             227x227, so that conv1 gives 55x55; pooling: "avg" or "max" takes the place of fc6
             and fc7; small_images: for 32x32, conv1 is 5x5 with stride 1, fc6 and fc7 have an
             eighth of their units.
    Source:  Krizhevsky 2012. 60,965,224 parameters; one tower 61,100,840.
    Differs: the paper has 224x224 pictures and no padding, which cannot give 55x55. Of one_tower:
             torchvision averages conv5's maps to 6x6, whatever the picture's size, and drops
             before fc6 and fc7; here fc6 fits the size, and dropout is the paper's.
    """

    def __init__(
        self,
        num_classes: int,
        filters: tuple[int, ...] | None = None,
        units: int = 4096,
        one_tower: bool = False,
        stem_padding: int = 2,
        small_images: bool = False,
        pooling: Pooling = None,
        include_top: bool = True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.filters = tuple(filters) if filters else None
        self.units = units
        self.one_tower = one_tower
        self.stem_padding = stem_padding
        self.small_images = small_images
        self.pooling = pooling
        self.include_top = include_top

        widths = filters or (ONE_TOWER if one_tower else TWO_TOWERS)
        stem = {"kernel_size": 5} if small_images else {"stride": 4, "padding": "valid"}
        self.pad = None if small_images else layers.ZeroPadding2D(stem_padding)
        self.convs = [
            AlexNetConv(
                **{"filters": width, "kernel_size": KERNEL_SIZES[i], **({} if i else stem)},
                groups=1 if one_tower else GROUPS[i],
                bias=BIASES[i],
                normalised=i in NORMALISED and not one_tower,
                pooled=i in POOLED,
            )
            for i, width in enumerate(widths)
        ]
        if include_top and pooling is None:
            self.head = FullyConnected(num_classes, units // 8 if small_images else units)
        else:
            self.head = Head(num_classes, pooling, include_top)

    def call(self, images, training=None):
        x = self.pad(images) if self.pad else images
        for conv in self.convs:
            x = conv(x)
        return self.head(x)  # [B, 6, 6, 256] -> [B, K]

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "filters": self.filters,
            "units": self.units,
            "one_tower": self.one_tower,
            "stem_padding": self.stem_padding,
            "small_images": self.small_images,
            "pooling": self.pooling,
            "include_top": self.include_top,
        }
