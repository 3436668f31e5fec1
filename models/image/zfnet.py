"""ZFNet, AlexNet with a finer start (Zeiler & Fergus 2014, figure 3, arXiv 1311.2901).

| layer | filters | kernel | after the ReLU          | output    |
|-------|---------|--------|-------------------------|-----------|
| 1     | 96      | 7x7/2  | 3x3/2 max, normalise    | 55x55x96  |
| 2     | 256     | 5x5/2  | 3x3/2 max, normalise    | 13x13x256 |
| 3     | 384     | 3x3    |                         | 13x13x384 |
| 4     | 384     | 3x3    |                         | 13x13x384 |
| 5     | 256     | 3x3    | 3x3/2 max               | 6x6x256   |
| 6, 7  | 4096    |        | dropout                 | 4096      |
| 8     | K       |        |                         | K         |

Pictures of AlexNet's first layers showed filters of very high and very low frequency with little
between, and aliasing from stride 4: hence 7x7 and stride 2 (section 4.1). One GPU holds it all, so
all layers see all maps (section 3). Layer 1 gives 110x110 before it is pooled, layer 2 26x26.
"""

import keras
from keras import layers, ops

from models.image.alexnet import FullyConnected
from models.layers.block import Block
from models.layers.head import Head, Pooling
from models.layers.local_response import LocalResponseNorm
from models.layers.pooling import CeilMaxPool

VARIANTS = {"zfnet": {}}
FILTERS = (96, 256, 384, 384, 256)
KERNEL_SIZES = (7, 5, 3, 3, 3)
STRIDES = (2, 2, 1, 1, 1)
STEM_PADDING = 1  # (224 + 2 - 7) / 2 + 1 = 110; layer 2 has none: (55 - 5) / 2 + 1 = 26
NORMALISED = (0, 1)
POOLED = (0, 1, 4)
RMS_LIMIT = 0.1


@keras.saving.register_keras_serializable(package="triptych")
class RmsLimit(keras.constraints.Constraint):
    """A filter whose weights' root mean square passes the limit is scaled back to it.

    Source:  Zeiler & Fergus 2014, section 3: else a few first-layer filters dominate.
    """

    def __init__(self, limit: float = RMS_LIMIT):
        self.limit = limit

    def __call__(self, kernel):
        rms = ops.sqrt(ops.mean(ops.square(kernel), axis=(0, 1, 2), keepdims=True))
        return kernel * (self.limit / ops.maximum(rms, self.limit))

    def get_config(self):
        return {"limit": self.limit}


@keras.saving.register_keras_serializable(package="triptych")
class ZFNetConv(Block):
    """Layer: convolution, ReLU; some pool, then normalise.  [B, H, W, C] -> [.., filters]

    Pooling comes first, the other way round than in AlexNet.
    Source:  Zeiler & Fergus 2014, figure 3; weights start as in section 3: normal, 0.01.
    Differs: the normalisation's numbers are AlexNet's; the paper has none.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        stride: int = 1,
        normalised: bool = False,
        pooled: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        dtype = self.dtype_policy
        self.conv = layers.Conv2D(
            filters,
            kernel_size,
            strides=stride,
            padding="same" if stride == 1 else "valid",
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
            kernel_constraint=RmsLimit(),
            dtype=dtype,
        )
        # The figure's 55 and 13 count a last window that hangs over the edge.
        self.pool = CeilMaxPool(3, 2, dtype=dtype) if pooled else None
        self.norm = LocalResponseNorm(2, 2.0, 1e-4, 0.75, dtype=dtype) if normalised else None

    def call(self, x):
        x = ops.relu(self.conv(x))
        x = self.pool(x) if self.pool else x
        return self.norm(x) if self.norm else x


@keras.saving.register_keras_serializable(package="triptych")
class ZFNet(keras.Model):
    """ZFNet.  [B, 224, 224, C] -> [B, K] logits

    Args:    filters: of the five convolutions; units: of layers 6 and 7; pooling: "avg" or "max"
             takes the place of layers 6 and 7; small_images: for 32x32, the first two
             convolutions have stride 1, layers 6 and 7 an eighth of their units.
    Source:  Zeiler & Fergus 2014, figure 3: 62,357,608 parameters.
    """

    def __init__(
        self,
        num_classes: int,
        filters: tuple[int, ...] = FILTERS,
        units: int = 4096,
        small_images: bool = False,
        pooling: Pooling = None,
        include_top: bool = True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.filters = tuple(filters)
        self.units = units
        self.small_images = small_images
        self.pooling = pooling
        self.include_top = include_top

        self.pad = None if small_images else layers.ZeroPadding2D(STEM_PADDING)
        self.convs = [
            ZFNetConv(
                width,
                KERNEL_SIZES[i],
                stride=1 if small_images else STRIDES[i],
                normalised=i in NORMALISED,
                pooled=i in POOLED,
            )
            for i, width in enumerate(filters)
        ]
        if include_top and pooling is None:
            self.head = FullyConnected(num_classes, units // 8 if small_images else units, bias=0.0)
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
            "small_images": self.small_images,
            "pooling": self.pooling,
            "include_top": self.include_top,
        }
