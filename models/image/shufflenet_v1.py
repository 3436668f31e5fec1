"""ShuffleNet (Zhang 2018, table 1, arXiv 1707.01083).

| stage | output  | units | g = 1 | g = 2 | g = 3 | g = 4 | g = 8 |
|-------|---------|-------|-------|-------|-------|-------|-------|
| stem  | 112x112 | 3x3 convolution, 24, stride 2                 |
|       | 56x56   | 3x3 max pool, stride 2                        |
| 2     | 28x28   | 1 + 3 | 144   | 200   | 240   | 272   | 384   |
| 3     | 14x14   | 1 + 7 | 288   | 400   | 480   | 544   | 768   |
| 4     | 7x7     | 1 + 3 | 576   | 800   | 960   | 1088  | 1536  |
| head  | 1x1     | average pool, K-way fully connected           |

Groups make 1x1 convolutions cheap, the shuffle lets them see each other's channels; about 140
million multiply-adds for each g.
"""

import math

import keras
from keras import layers, ops

from models.layers.block import Block
from models.layers.conv import ConvNorm, DepthwiseNorm
from models.layers.head import Head, Pooling
from models.layers.shuffle import ChannelShuffle

VARIANTS = {"shufflenet_v1": {}}
FILTERS = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}  # of stage 2, by groups
STEM = 24
UNITS = (4, 8, 4)
REDUCTION = 4  # a unit's inner channels are a quarter of its output's (section 3.2)


def whole(channels: float, groups: int) -> int:
    """Channels that part in groups: as few more as it takes. Table 1's part as they are."""
    return -(-int(channels) // groups) * groups


@keras.saving.register_keras_serializable(package="triptych")
class ShuffleUnit(Block):
    """Layer: 1x1 in groups, shuffle, depthwise 3x3, 1x1 in groups.  [B, H, W, C] -> [.., filters]

    Added to its input; at stride 2 beside it (average pooled), so that `filters` are more
    than the input's C. No ReLU after the depthwise convolution.

    Args:    groups: of both 1x1s; first_groups: of the first, 1 in the first unit of all, whose
             input is too narrow to part; added: how many filters are new.
    Source:  Zhang 2018, figure 2b and 2c.
    """

    def __init__(
        self,
        filters: int,
        added: int,
        stride: int = 1,
        groups: int = 1,
        first_groups: int = 1,
        **kwargs,
    ):
        super().__init__(**kwargs)
        dtype = self.dtype_policy
        inner = whole(filters / REDUCTION, groups)
        self.conv1 = ConvNorm(inner, 1, groups=first_groups, dtype=dtype)
        self.shuffle = ChannelShuffle(groups, dtype=dtype)
        self.depthwise = DepthwiseNorm(3, stride, None, padding="torch", dtype=dtype)
        self.conv2 = ConvNorm(added, 1, activation=None, groups=groups, dtype=dtype)
        self.pool = None
        if stride > 1:
            # Zeros count in the mean, as in the authors' code.
            self.pad = layers.ZeroPadding2D(1, dtype=dtype)
            self.pool = layers.AveragePooling2D(3, stride, dtype=dtype)

    def call(self, x):
        y = self.conv2(self.depthwise(self.shuffle(self.conv1(x))))
        if self.pool:
            return ops.relu(ops.concatenate([self.pool(self.pad(x)), y], axis=-1))
        return ops.relu(x + y)


@keras.saving.register_keras_serializable(package="triptych")
class ShuffleNetV1(keras.Model):
    """ShuffleNet.  [B, H, W, C] -> [B, K] logits

    Args:    groups: g of 1, 2, 3, 4, 8; filters: of stage 2, doubled in each next one, by
             default table 1's for g; units: of each stage; width_multiplier: "s x", times the
             filters of each stage (section 3.3); small_images: for 32x32, a stem without stride
             or pool.
    Raises:  ValueError for groups that table 1 doesn't have, if filters are not given.
    Source:  Zhang 2018, table 1.
    Differs: the stem halves and doubles only, and keeps its 24 at 1.5x: as in the authors' code,
             whose 292 million multiply-adds at 1.5x (g = 3) are ours.
    """

    def __init__(
        self,
        num_classes: int,
        groups: int = 3,
        filters: int | None = None,
        units: tuple[int, ...] = UNITS,
        width_multiplier: float = 1.0,
        small_images: bool = False,
        pooling: Pooling = "avg",
        include_top: bool = True,
        **kwargs,
    ):
        if filters is None and groups not in FILTERS:
            raise ValueError(f"groups must be one of {sorted(FILTERS)}, not {groups}")
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.groups = groups
        self.filters = filters
        self.units = tuple(units)
        self.width_multiplier = width_multiplier
        self.small_images = small_images
        self.pooling = pooling
        self.include_top = include_top

        channels = whole(STEM * 2 ** math.floor(math.log2(width_multiplier)), groups)
        self.stem = ConvNorm(channels, 3, stride=1 if small_images else 2, padding="torch")
        self.pad = None if small_images else layers.ZeroPadding2D(1)
        self.pool = None if small_images else layers.MaxPooling2D(3, 2)
        self.stages = []
        for stage, count in enumerate(units):
            width = whole((filters or FILTERS[groups]) * width_multiplier, groups) * 2**stage
            for unit in range(count):
                self.stages.append(
                    ShuffleUnit(
                        width,
                        added=width if unit else width - channels,
                        stride=1 if unit else 2,
                        groups=groups,
                        first_groups=groups if stage or unit else 1,
                    )
                )
            channels = width
        self.head = Head(num_classes, pooling, include_top)

    def call(self, images, training=None):
        x = self.stem(images)  # [B, H/2, W/2, 24]
        if self.pool:
            x = self.pool(self.pad(x))  # [B, H/4, W/4, 24]
        for unit in self.stages:
            x = unit(x)
        return self.head(x)  # [B, H/32, W/32, 960] -> [B, K]

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "groups": self.groups,
            "filters": self.filters,
            "units": self.units,
            "width_multiplier": self.width_multiplier,
            "small_images": self.small_images,
            "pooling": self.pooling,
            "include_top": self.include_top,
        }
