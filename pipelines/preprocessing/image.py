"""A picture of any size -> one normalised picture of the network's size."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from protos.triptych.v1 import manifest_pb2

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow's convert("L")


class ImagePreprocessing(tf.Module):
    """Crop the centre to shape, resize, normalise.  uint8 [H, W, 3] -> float32 [h, w, C]

    Resizing is bilinear and antialiased: within one grey level of Pillow's.

    Args:    channels: 3, or 1 for grey; mean, standard_deviation: of each channel, in [0, 1],
             in the order in which they leave; channel_order: "rgb", or "bgr" as Caffe's networks
             take them.
    """

    domain = "image"

    def __init__(
        self,
        height: int,
        width: int,
        channels: int = 3,
        mean: Sequence[float] = (0.5, 0.5, 0.5),
        standard_deviation: Sequence[float] = (0.25, 0.25, 0.25),
        channel_order: Literal["rgb", "bgr"] = "rgb",
    ):
        if channel_order not in ("rgb", "bgr"):
            raise ValueError(f"channel_order must be 'rgb' or 'bgr', not {channel_order!r}")
        super().__init__()
        self.height, self.width, self.channels = height, width, channels
        self.mean = tuple(float(x) for x in mean)[:channels]
        self.standard_deviation = tuple(float(x) for x in standard_deviation)[:channels]
        self.channel_order = channel_order
        self.decoded_spec = tf.TensorSpec([None, None, 3], tf.uint8, name="image")
        self.example_spec = tf.TensorSpec([height, width, channels], tf.float32, name="example")

    def preprocess(self, image: tf.Tensor) -> tf.Tensor:
        x = self.fit_to_size(image) / 255.0
        return (x - tf.constant(self.mean)) / tf.constant(self.standard_deviation)

    def fit_to_size(self, image: tf.Tensor) -> tf.Tensor:
        """uint8 [H, W, 3] -> float32 [h, w, C] in grey levels, 0 to 255."""
        # Cropped first: a picture of a million by one pixels would grow by the network's height.
        height, width = tf.unstack(tf.shape(image)[:2])
        inner_height = tf.clip_by_value(self._share(width, self.height, self.width), 1, height)
        inner_width = tf.clip_by_value(self._share(height, self.width, self.height), 1, width)
        top, left = (height - inner_height) // 2, (width - inner_width) // 2
        inner = image[top : top + inner_height, left : left + inner_width]
        target = [self.height, self.width]
        x = tf.image.resize(inner, target, method="bilinear", antialias=True)
        if self.channels == 1:
            x = tf.reduce_sum(x * tf.constant(LUMA), axis=-1, keepdims=True)
        elif self.channel_order == "bgr":
            x = x[..., ::-1]
        return tf.ensure_shape(x, [self.height, self.width, self.channels])

    @staticmethod
    def _share(size: tf.Tensor, numerator: int, denominator: int) -> tf.Tensor:
        return tf.cast(tf.round(tf.cast(size, tf.float64) * numerator / denominator), tf.int32)

    def decode(self, encoded: tf.Tensor) -> tf.Tensor:
        """JPEG, PNG, GIF, BMP or WebP bytes -> uint8 [H, W, 3].

        JPEG is decoded as Pillow does, which TensorFlow's faster default does not. EXIF
        orientation and transparency are ignored here.
        """
        return tf.cond(
            tf.io.is_jpeg(encoded),
            lambda: tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE"),
            lambda: tf.io.decode_image(encoded, channels=3, expand_animations=False),
        )

    def fit(self, images: Iterable[np.ndarray]) -> "ImagePreprocessing":
        """Take mean and deviation of each channel from these decoded pictures."""
        count, total, squares = 0, np.zeros(self.channels), np.zeros(self.channels)
        for image in images:
            x = self.fit_to_size(tf.constant(image)).numpy().astype(np.float64) / 255.0
            count += self.height * self.width
            total += x.sum(axis=(0, 1))
            squares += np.square(x).sum(axis=(0, 1))
        mean = total / count
        deviation = np.sqrt(np.maximum(squares / count - mean**2, 1e-6))
        config = {"mean": mean.round(4).tolist(), "standard_deviation": deviation.round(4).tolist()}
        return ImagePreprocessing(**{**self.get_config(), **config})

    def spec(self) -> manifest_pb2.InputSpec:
        size = manifest_pb2.ImageInput(height=self.height, width=self.width, channels=self.channels)
        return manifest_pb2.InputSpec(image=size)

    def get_config(self) -> dict[str, Any]:
        return {
            "height": self.height,
            "width": self.width,
            "channels": self.channels,
            "mean": list(self.mean),
            "standard_deviation": list(self.standard_deviation),
            "channel_order": self.channel_order,
        }
