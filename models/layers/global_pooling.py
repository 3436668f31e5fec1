"""All positions of a map pooled to one, beyond Keras's mean and maximum.  [B, ..., C] -> [B, C']

Each takes any number of axes between the batch and the channels.
"""

import keras
from keras import layers, ops

from models.layers.block import Block


def positions(x) -> tuple[int, ...]:
    return tuple(range(1, len(x.shape) - 1))


@keras.saving.register_keras_serializable(package="triptych")
class ConcatPool(Block):
    """Layer: mean and maximum beside one another.  [B, ..., C] -> [B, 2C]

    Source:  Howard & Ruder 2018, section 3.3, arXiv 1801.06146, there without the last state.
    """

    def call(self, x):
        axes = positions(x)
        return ops.concatenate([ops.mean(x, axes), ops.max(x, axes)], axis=-1)


@keras.saving.register_keras_serializable(package="triptych")
class GeneralizedMeanPool(Block):
    """Layer: the p-th root of the mean of p-th powers (GeM).  [B, ..., C] -> [B, C]

    With p = 1 it is the mean, with p without end the maximum; between them p is learnt, one for
    all channels.

    Args:    exponent: p at the start; epsilon: what is lower counts as this: after a ReLU, the
             zeros, whose power has no gradient.
    Source:  Radenovic 2018, section 3.2, equation 3, arXiv 1711.02512.
    """

    def __init__(self, exponent: float = 3.0, epsilon: float = 1e-6, **kwargs):
        super().__init__(**kwargs)
        self.exponent = exponent
        self.epsilon = epsilon

    def build(self, input_shape):
        self.p = self.add_weight(
            name="p",
            shape=(),
            initializer=keras.initializers.Constant(self.exponent),
            autocast=False,
        )

    def call(self, x):
        axes = positions(x)
        x = ops.maximum(ops.cast(x, self.p.dtype), self.epsilon)
        # As a part of the maximum: powers of anything else leave the range of numbers soon.
        most = ops.stop_gradient(ops.max(x, axes, keepdims=True))
        mean = ops.mean(ops.power(x / most, self.p), axes, keepdims=True)
        root = most * ops.power(mean, 1 / self.p)
        return ops.cast(ops.squeeze(root, axes), self.compute_dtype)


@keras.saving.register_keras_serializable(package="triptych")
class AttentionPool(Block):
    """Layer: a mean whose weights are the positions' own scores.  [B, ..., C] -> [B, C]

    weights = softmax over all positions of v . tanh(V x + b), with learnt v and V.

    Args:    units: rows of V.
    Call:    mask: [B, ...] booleans; a position that is False has no weight.
    Source:  Ilse 2018, section 2.4, equation 8, arXiv 1802.04712; b is in the authors' code only.
    """

    def __init__(self, units: int, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.hidden = layers.Dense(units, "tanh", dtype=self.dtype_policy)
        self.score = layers.Dense(1, use_bias=False, dtype=self.dtype_policy)

    def call(self, x, mask=None):
        axes = positions(x)
        scores = self.score(self.hidden(x))
        if mask is not None:
            scores = ops.where(ops.expand_dims(mask, -1), scores, float("-inf"))
        return ops.sum(x * ops.softmax(scores, axis=axes), axis=axes)

    def compute_mask(self, inputs, previous_mask):
        return None
