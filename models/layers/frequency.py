"""Convolution along the frequency axis of a spectrogram."""

import keras
from keras import ops

from models.layers.block import Block


@keras.saving.register_keras_serializable(package="triptych")
class FrequencyConv(Block):
    """Layer: filters that move along frequency.  [B, T, F, C] -> [B, T/s, F - bands + 1, filters]

    The spectrogram is read as windows of `context` frames, one at every `context_stride`th
    frame. A filter covers the whole window in time, so within it there is only one way to go:
    up the mel bands, with the same weights in each place (full weight sharing). A speaker with
    a higher voice moves the pattern up, and the map with it.

    Padding is with zeros in time, so that a clip shorter than a window works, and none in
    frequency, where the edges mean something.

    Args:    context: frames that a filter covers; bands: mel bands that it covers, None: all.
    Raises:  ValueError if the input has fewer mel bands than the filter covers.
    Source:  Abdel-Hamid 2014, section III, doi 10.1109/TASLP.2014.2339736; Sainath & Parada
             2015, section 3, for filters that span all of the context.
    """

    def __init__(
        self, filters: int, context: int, bands: int | None, context_stride: int = 1, **kwargs
    ):
        super().__init__(**kwargs)
        self.filters = filters
        self.context = context
        self.bands = bands
        self.context_stride = context_stride

    def build(self, input_shape):
        bands = self.bands or input_shape[2]
        if input_shape[2] < bands:
            raise ValueError(
                f"{self.name}: a filter covers {bands} mel bands, but its input has only"
                f" {input_shape[2]}: use more mel bands, or fewer or smaller layers before it"
            )
        self.kernel = self.add_weight(
            name="kernel",
            shape=(self.context, bands, input_shape[-1], self.filters),
            initializer="he_normal",
        )

    def call(self, x):
        before = (self.context - 1) // 2
        x = ops.pad(x, [(0, 0), (before, self.context - 1 - before), (0, 0), (0, 0)])
        return ops.conv(x, self.kernel, strides=(self.context_stride, 1), padding="valid")
