"""A way for channels to leave their group."""

import keras
from keras import ops

from models.layers.block import Block


@keras.saving.register_keras_serializable(package="triptych")
class ChannelShuffle(Block):
    """Layer: channel i of group j becomes channel j of group i.  [B, H, W, C] -> the same

    Source:  Zhang 2018, section 3.1, arXiv 1707.01083: reshape to (g, C/g), transpose, flatten.
    Differs: from the authors' later code, whose permutation is this one's inverse.
    """

    def __init__(self, groups: int, **kwargs):
        super().__init__(**kwargs)
        self.groups = groups

    def call(self, x):
        _, height, width, channels = x.shape
        x = ops.reshape(x, (-1, height, width, self.groups, channels // self.groups))
        return ops.reshape(ops.swapaxes(x, 3, 4), (-1, height, width, channels))
