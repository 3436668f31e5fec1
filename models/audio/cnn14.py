"""CNN14 (Kong 2020, "PANNs", arXiv 1912.10211).

| layer                              | output         |
|------------------------------------|----------------|
| batch norm of each mel band        | T x 64         |
| two 3x3 of   64, pooling 2x2       | T/2 x 32       |
| two 3x3 of  128, pooling 2x2       | T/4 x 16       |
| two 3x3 of  256, pooling 2x2       | T/8 x 8        |
| two 3x3 of  512, pooling 2x2       | T/16 x 4       |
| two 3x3 of 1024, pooling 2x2       | T/32 x 2       |
| two 3x3 of 2048                    | T/32 x 2       |
| mean over bands; maximum plus mean over time | 2048 |
| fully connected, ReLU              | 2048           |
| fully connected                    | K              |

BN and ReLU after each convolution; pooling is by the mean, and dropout after it.
"""

import keras
from keras import layers, ops

from models.layers.block import Block
from models.layers.conv import ConvNorm
from models.layers.frames import PadFrames

VARIANTS = {"cnn14": {"filters": (64, 128, 256, 512, 1024, 2048), "units": 2048}}
MAP_DROPOUT_RATE, DROPOUT_RATE = 0.2, 0.5


@keras.saving.register_keras_serializable(package="triptych")
class PooledConvs(Block):
    """Layer: two 3x3 convolutions, mean of 2x2, dropout.  [B, T, F, C] -> [B, T/2, F/2, filters]"""

    def __init__(self, filters: int, pool: bool = True, **kwargs):
        super().__init__(**kwargs)
        dtype = self.dtype_policy
        self.conv1 = ConvNorm(filters, 3, dtype=dtype)
        self.conv2 = ConvNorm(filters, 3, dtype=dtype)
        self.pool = layers.AveragePooling2D(2, dtype=dtype) if pool else None
        self.dropout = layers.Dropout(MAP_DROPOUT_RATE, dtype=dtype)

    def call(self, x):
        x = self.conv2(self.conv1(x))
        return self.dropout(self.pool(x) if self.pool else x)


@keras.saving.register_keras_serializable(package="triptych")
class CNN14(keras.Model):
    """CNN14.  [B, T, F] -> [B, K] logits, of any number of frames

    The paper's spectrogram is log-mel at 32 kHz: window and FFT of 1024, hop of 320, 64 bands from
    50 to 14,000 Hz.

    Args:    filters: of each block, the last of which doesn't pool; units: of the embedding.
    Raises:  ValueError if F is below 2^5: each pooling halves it.
    Source:  Kong 2020; 80,753,615 trained parameters for the 527 classes of AudioSet.
    Differs: logits for one class of K, where AudioSet's tags are many at once; the spectrogram and
             SpecAugment are the pipeline's; a clip under 32 frames is padded.
    """

    def __init__(
        self,
        num_classes: int,
        filters: tuple[int, ...] = VARIANTS["cnn14"]["filters"],
        units: int = 2048,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.filters = tuple(filters)
        self.units = units

        *pooled, last = self.filters
        self.smallest = 2 ** len(pooled)
        self.pad = PadFrames(self.smallest)
        self.norm = layers.BatchNormalization(momentum=0.9, epsilon=1e-5)
        self.stages = [*(PooledConvs(count) for count in pooled), PooledConvs(last, pool=False)]
        self.dropout = layers.Dropout(DROPOUT_RATE)
        self.embedding = layers.Dense(units, activation="relu")
        self.dropout2 = layers.Dropout(DROPOUT_RATE)
        self.head = layers.Dense(num_classes)

    def call(self, spectrograms, training=None):
        if spectrograms.shape[-1] < self.smallest:
            raise ValueError(
                f"CNN14 takes at least {self.smallest} mel bands, not {spectrograms.shape[-1]}"
            )
        x = self.pad(self.norm(spectrograms))  # [B, T, F]
        x = ops.expand_dims(x, -1)
        for block in self.stages:
            x = block(x)
        x = ops.mean(x, axis=2)  # [B, T/32, 2048]
        x = ops.max(x, axis=1) + ops.mean(x, axis=1)
        x = self.embedding(self.dropout(x, training=training))
        return self.head(self.dropout2(x, training=training))

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "filters": self.filters,
            "units": self.units,
        }
