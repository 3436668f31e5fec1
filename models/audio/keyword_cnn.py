"""Small networks that hear a keyword (Sainath & Parada 2015, doi 10.21437/Interspeech.2015-352).

| network          | convolutions (frames x bands)   | after them          | weights |
|------------------|---------------------------------|---------------------|---------|
| cnn-trad-fpool3  | 20 x 8, 64, pooling 3; 10 x 4, 64 | lin 32, dnn 128     | 244,224 |
| cnn-one-fpool3   | 32 x 8, 54, pooling 3           | lin 32, dnn 2 x 128 |  53,824 |
| cnn-one-fstride4 | 32 x 8, 186, stride 4           | lin 32, dnn 2 x 128 | 122,176 |
| cnn-one-fstride8 | 32 x 8, 336, stride 8           | lin 32, dnn 2 x 128 | 160,768 |

for 32 frames of 40 mel bands and four classes. Pooling and strides are in frequency alone. The
filters of the last three span all the frames, so frequency is the only way they can move. "lin"
is a matrix of low rank: fully connected, and nothing after it.
"""

from typing import NamedTuple

import keras
from keras import layers, ops

from models.layers.frames import PadFrames
from models.layers.frequency import FrequencyConv


class Row(NamedTuple):
    m: int  # frames that the filter covers
    r: int  # mel bands
    n: int  # filters
    q: int  # pooling in frequency
    v: int  # stride in frequency


# fmt: off
VARIANTS = {
    #                               m  r    n  q  v       m  r   n  q  v
    "cnn_trad_fpool3":  {"rows": ((20, 8,  64, 3, 1), (10, 4, 64, 1, 1)), "units": (128,)},
    "cnn_one_fpool3":   {"rows": ((32, 8,  54, 3, 1),), "units": (128, 128)},
    "cnn_one_fstride4": {"rows": ((32, 8, 186, 1, 4),), "units": (128, 128)},
    "cnn_one_fstride8": {"rows": ((32, 8, 336, 1, 8),), "units": (128, 128)},
}
# fmt: on
FRAMES = 32  # 23 before the one that is asked about, and 8 after
LOW_RANK = 32


@keras.saving.register_keras_serializable(package="triptych")
class KeywordCNN(keras.Model):
    """Sainath and Parada's networks.  [B, T, F] -> [B, K] logits

    A longer clip is scored at windows of 32 frames, one starting at every `window_stride`th, as
    the paper's keyword spotter does; the logits are their mean. A shorter one is padded.

    Args:    rows: of each convolution; units: of each fully connected layer; window_stride: frames.
    Raises:  ValueError if F is too few for the filters (8 mel bands, and 20 for cnn_trad_fpool3).
    Source:  Sainath & Parada 2015.
    Differs: no biases, which the paper's counts leave out; the mean over windows, where the paper
             smooths their scores and takes the highest; dropout before the logits.
    """

    def __init__(
        self,
        num_classes: int,
        rows: tuple[Row, ...] = VARIANTS["cnn_one_fpool3"]["rows"],
        units: tuple[int, ...] = (128, 128),
        window_stride: int = 1,
        dropout_rate: float = 0.2,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.rows = tuple(Row(*row) for row in rows)
        self.units = tuple(units)
        self.window_stride = window_stride
        self.dropout_rate = dropout_rate

        self.pad = PadFrames(FRAMES)
        self.convs = [
            FrequencyConv(row.n, row.m, row.r, band_stride=row.v, padding="valid")
            for row in self.rows
        ]
        self.pools = [layers.MaxPooling2D((1, row.q)) for row in self.rows]
        # What is fully connected for 32 frames is a convolution over all that the filters gave
        # of them, so that it moves along time for more.
        window = FRAMES - sum(row.m - 1 for row in self.rows)
        self.linear = FrequencyConv(
            LOW_RANK, window, None, context_stride=window_stride, padding="valid"
        )
        self.hidden = [layers.Dense(count, use_bias=False) for count in self.units]
        self.dropout = layers.Dropout(dropout_rate)
        self.head = layers.Dense(num_classes, use_bias=False)

    def call(self, spectrograms, training=None):
        x = ops.expand_dims(self.pad(spectrograms), -1)  # [B, T, F, 1]
        for conv, pool in zip(self.convs, self.pools, strict=True):
            x = pool(ops.relu(conv(x)))
        x = self.linear(x)  # [B, T - 31, 1, 32]
        for dense in self.hidden:
            x = ops.relu(dense(x))
        x = self.head(self.dropout(x, training=training))
        return ops.mean(x, axis=(1, 2))

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "rows": self.rows,
            "units": self.units,
            "window_stride": self.window_stride,
            "dropout_rate": self.dropout_rate,
        }
