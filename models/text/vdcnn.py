"""Very deep convolution over characters (Conneau 2017, figure 1 and table 2, arXiv 1606.01781).

| stage | positions | channels | blocks: | 9 | 17 | 29 | 49 |
|-------|-----------|----------|---------|---|----|----|----|
| embedding         | s    | 16  |
| convolution of 3  | s    | 64  |
| 1                 | s    | 64  |  | 1 | 2 | 5 | 8 |
| 2                 | s/2  | 128 |  | 1 | 2 | 5 | 8 |
| 3                 | s/4  | 256 |  | 1 | 2 | 2 | 5 |
| 4                 | s/8  | 512 |  | 1 | 2 | 2 | 3 |
| 8-max pooling     | 8    | 512 |
| fully connected   | 2048, 2048, K; ReLU between    |

A block is two convolutions of 3, each with BN and ReLU. Between stages a max pool of 3 halves
the positions, and the channels double. The depth counts all convolutions. At s = 1024 characters.
"""

import keras
from keras import layers, ops

from models.layers.block import Block
from models.layers.embedding import PADDING_ID, TokenEmbedding
from models.layers.masking import masked
from models.layers.time_pooling import KMaxPooling, TimeMaxPool

VARIANTS = {
    "vdcnn_9": {"blocks": (1, 1, 1, 1)},
    "vdcnn_17": {"blocks": (2, 2, 2, 2)},
    "vdcnn_29": {"blocks": (5, 5, 2, 2)},
    "vdcnn_49": {"blocks": (8, 8, 5, 3)},
}
# Section 4.1: 66 characters, the space, padding and unknown ones make 69.
ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789-,;.!?:'\"/|_#$%^&*~`+=<>()[]{} "
INPUTS = {
    "vocabulary": ALPHABET,
    "unit": "character",
    "keep_spaces": True,
    "max_tokens": 1024,
}
KERNEL_SIZE = 3
HALVING = {"pool_size": 3, "stride": 2}  # "down-sampling"


def conv(block: layers.Layer, filters: int, kernel_size: int = KERNEL_SIZE) -> layers.Layer:
    return layers.Conv1D(
        filters,
        kernel_size,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        dtype=block.dtype_policy,
    )


def norm(block: layers.Layer) -> layers.Layer:
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, dtype=block.dtype_policy)


@keras.saving.register_keras_serializable(package="triptych")
class ConvolutionalBlock(Block):
    """Layer: convolution of 3, BN, ReLU, twice.  [B, T, C] -> [B, T, filters]

    Args:    shortcut: adds the block's input before the last ReLU, by a 1x1 convolution and BN
             where the channels' number changes. `mask` says what is text: the rest is zeros for
             the convolutions and doesn't count in batch norm's statistics.
    Source:  Conneau 2017, figure 2.
    """

    def __init__(self, filters: int, shortcut: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.filters = filters
        self.shortcut = shortcut
        self.convs = [conv(self, filters) for _ in range(2)]
        self.norms = [norm(self) for _ in self.convs]

    def build(self, input_shape):
        widens = self.shortcut and input_shape[-1] != self.filters
        self.skip = (conv(self, self.filters, 1), norm(self)) if widens else ()
        super().build(input_shape)

    def call(self, x, mask=None, training=None):
        counted = mask if training else None  # at inference, statistics are what they are

        def apply(convolve, normalise, x):
            return normalise(convolve(masked(x, mask)), training=training, mask=counted)

        y = ops.relu(apply(self.convs[0], self.norms[0], x))
        y = apply(self.convs[1], self.norms[1], y)
        if self.shortcut:
            y = y + (apply(*self.skip, x) if self.skip else x)
        return ops.relu(y)


@keras.saving.register_keras_serializable(package="triptych")
class VDCNN(keras.Model):
    """Very deep character-level network.  [B, T] token numbers, 0 = padding -> [B, K] logits

    Args:    blocks: of each stage; filters: of the first, doubled in each next one; k: values
             that each channel hands on; units: of the two hidden layers; shortcut: around each
             block; the paper finds it to help at 49 layers alone.
    Source:  Conneau 2017. Weights of the convolutions: 1.58, 3.66, 4.03 and 7.15
             million, where table 2 prints 2.2, 4.3, 4.6 and 7.8 for the same layers; all that is
             trained at K = 4: 14.18, 16.27, 16.64 and 19.77 million.
    Differs: padding is masked, and texts may have any length: of fewer than k positions, k-max
             pooling fills up with zeros. Before batch norm, convolutions have no bias.
    """

    def __init__(
        self,
        num_classes: int,
        vocabulary_size: int = 2 + len(ALPHABET),
        blocks: tuple[int, ...] = (1, 1, 1, 1),
        embedding_dim: int = 16,
        filters: int = 64,
        k: int = 8,
        units: int = 2048,
        shortcut: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.vocabulary_size = vocabulary_size
        self.blocks = tuple(blocks)
        self.embedding_dim = embedding_dim
        self.filters = filters
        self.k = k
        self.units = units
        self.shortcut = shortcut

        self.embedding = TokenEmbedding(vocabulary_size, embedding_dim)
        self.stem = layers.Conv1D(
            filters, KERNEL_SIZE, padding="same", kernel_initializer="he_normal"
        )
        self.stages = [
            [ConvolutionalBlock(filters * 2**stage, shortcut) for _ in range(count)]
            for stage, count in enumerate(blocks)
        ]
        self.pools = [TimeMaxPool(**HALVING) for _ in blocks[1:]]
        self.kmax = KMaxPooling(k)
        self.flatten = layers.Flatten()
        self.hidden = [
            layers.Dense(units, activation="relu", kernel_initializer="he_normal") for _ in range(2)
        ]
        self.head = layers.Dense(num_classes)

    def call(self, tokens, training=None):
        mask = ops.not_equal(tokens, PADDING_ID)
        x = self.stem(self.embedding(tokens))  # [B, T, 64]
        for place, stage in enumerate(self.stages):
            if place:
                pool = self.pools[place - 1]
                x, mask = pool(x, mask=mask), pool.compute_mask(x, mask)
            for block in stage:
                x = block(x, mask=mask, training=training)
        x = self.flatten(self.kmax(x, mask=mask))  # [B, T/8, 512] -> [B, 8 * 512]
        for dense in self.hidden:
            x = dense(x)
        return self.head(x)

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "vocabulary_size": self.vocabulary_size,
            "blocks": self.blocks,
            "embedding_dim": self.embedding_dim,
            "filters": self.filters,
            "k": self.k,
            "units": self.units,
            "shortcut": self.shortcut,
        }
