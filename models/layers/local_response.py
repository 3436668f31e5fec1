"""Local response normalisation: a strong map quietens its neighbours."""

import keras
import tensorflow as tf
from keras import layers, ops


@keras.saving.register_keras_serializable(package="triptych")
class LocalResponseNorm(layers.Layer):
    """Layer: x / (bias + alpha * sum of x^2 over 2r+1 channels)^beta.  [B, H, W, C] -> the same

    Args:    depth_radius: r; the paper's n is 2r + 1. alpha: as the paper has it; Caffe and
             PyTorch divide theirs by n.
    Source:  Krizhevsky 2012, section 3.3.
    """

    def __init__(
        self,
        depth_radius: int = 2,
        bias: float = 2.0,
        alpha: float = 1e-4,
        beta: float = 0.75,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.depth_radius = depth_radius
        self.bias = bias
        self.alpha = alpha
        self.beta = beta

    def call(self, x):
        wide = ops.cast(x, "float32")  # TensorFlow has no kernel for bfloat16
        y = tf.nn.local_response_normalization(
            wide, self.depth_radius, self.bias, self.alpha, self.beta
        )
        return ops.cast(y, x.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape
