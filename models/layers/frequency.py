"""What knows the frequency axis of a spectrogram: convolution along it, norm by parts of it."""

from typing import Literal

import keras
from keras import layers, ops

from models.layers.block import Block


@keras.saving.register_keras_serializable(package="triptych")
class FrequencyConv(Block):
    """Layer: filters that move along frequency.  [B, T, F, C] -> [B, T', F', filters]

    The spectrogram is read as windows of `context` frames, one at every `context_stride`th
    frame. A filter covers the whole window in time, so within it there is only one way to go:
    up the mel bands, F' = (F - bands) / band_stride + 1 places.

    With full weight sharing the weights are the same in each place: a speaker with a higher voice
    moves the pattern up, and the map with it. With limited weight sharing the places fall into
    `sections`, each with weights of its own, and of each section the maximum is kept: F' =
    sections. What low bands are looked at for is then not what high ones are; maps of different
    sections don't compare, so nothing can move along frequency after it.

    Padding "same" is with zeros in time, T' = T / context_stride, so that a clip shorter than a
    window works; "valid" has only whole windows. There is none in frequency, where the edges
    mean something.

    Args:    context: frames that a filter covers; bands: mel bands that it covers, None: all;
             sections: None, or the number of them.
    Raises:  ValueError if the input has fewer mel bands than the filter covers, or if the places
             don't fall into equal sections.
    Source:  Abdel-Hamid 2014, doi 10.1109/TASLP.2014.2339736; Sainath & Parada
             2015, for filters that span all of the context and stride in frequency.
    """

    def __init__(
        self,
        filters: int,
        context: int,
        bands: int | None,
        context_stride: int = 1,
        band_stride: int = 1,
        padding: Literal["same", "valid"] = "same",
        sections: int | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.filters = filters
        self.context = context
        self.bands = bands
        self.context_stride = context_stride
        self.band_stride = band_stride
        self.padding = padding
        self.sections = sections

    def build(self, input_shape):
        bands = self.bands or input_shape[2]
        if input_shape[2] < bands:
            raise ValueError(
                f"{self.name}: a filter covers {bands} mel bands, but its input has only"
                f" {input_shape[2]}: use more mel bands, or fewer or smaller layers before it"
            )
        places = (input_shape[2] - bands) // self.band_stride + 1
        if self.sections and places % self.sections:
            raise ValueError(
                f"{self.name}: filters have {places} places along frequency, which don't fall into"
                f" {self.sections} equal sections: choose a divisor of {places}"
            )
        self.kernels = [
            self.add_weight(
                name=f"kernel_{section}" if self.sections else "kernel",
                shape=(self.context, bands, input_shape[-1], self.filters),
                initializer="he_normal",
            )
            for section in range(self.sections or 1)
        ]

    def call(self, x):
        if self.padding == "same":
            before = (self.context - 1) // 2
            x = ops.pad(x, [(0, 0), (before, self.context - 1 - before), (0, 0), (0, 0)])
        if not self.sections:
            return self._moved(x, self.kernels[0])
        bands = self.kernels[0].shape[1]
        places = ((x.shape[2] - bands) // self.band_stride + 1) // self.sections
        height = (places - 1) * self.band_stride + bands  # what a section's filters see
        pooled = []
        for section, kernel in enumerate(self.kernels):
            first = section * places * self.band_stride
            maps = self._moved(x[:, :, first : first + height], kernel)
            pooled.append(ops.max(maps, axis=2, keepdims=True))
        return ops.concatenate(pooled, axis=2)

    def _moved(self, x, kernel):
        strides = (self.context_stride, self.band_stride)
        return ops.conv(x, kernel, strides=strides, padding="valid")


@keras.saving.register_keras_serializable(package="triptych")
class SubSpectralNorm(layers.Layer):
    """Layer: batch norm of each part of the mel bands by itself.  [B, T, F, C] -> the same

    The bands are cut into `groups` equal parts, and each channel of each part has a mean, a
    deviation, a gamma and a beta of its own: low and high bands differ in level.

    Raises:  ValueError if F is no multiple of `groups`.
    Source:  Chang 2021, arXiv 2103.13620.
    """

    def __init__(self, groups: int, momentum: float = 0.9, epsilon: float = 1e-5, **kwargs):
        super().__init__(**kwargs)
        self.groups = groups
        self.norm = layers.BatchNormalization(
            momentum=momentum, epsilon=epsilon, dtype=self.dtype_policy
        )

    def build(self, input_shape):
        _, _, bands, channels = input_shape
        if bands % self.groups:
            raise ValueError(
                f"{self.name}: {bands} mel bands don't fall into {self.groups} equal parts: use a"
                f" number of mel bands that leaves a multiple of {self.groups} here"
            )
        self.norm.build((None, None, None, self.groups * channels))

    def call(self, x, training=None):
        _, _, bands, channels = x.shape
        frames = ops.shape(x)[1]
        parts = ops.reshape(x, (-1, frames, self.groups, bands // self.groups, channels))
        parts = ops.swapaxes(parts, 2, 3)  # [B, T, F/g, g, C]
        flat = ops.reshape(parts, (-1, frames, bands // self.groups, self.groups * channels))
        flat = self.norm(flat, training=training)
        parts = ops.swapaxes(ops.reshape(flat, ops.shape(parts)), 2, 3)
        return ops.reshape(parts, (-1, frames, bands, channels))

    def compute_output_shape(self, input_shape):
        return input_shape
