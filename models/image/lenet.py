"""LeNet-5 (LeCun 1998, section II.B, figure 2, doi 10.1109/5.726791).

| layer | what                                   | output   | trainable |
|-------|----------------------------------------|----------|-----------|
| input | a digit in the middle                  | 32x32x1  |           |
| C1    | 5x5 convolution                        | 28x28x6  |       156 |
| S2    | sub-sampling 2x2                       | 14x14x6  |        12 |
| C3    | 5x5 convolution, table I's 60 links    | 10x10x16 |     1,516 |
| S4    | sub-sampling 2x2                       | 5x5x16   |        32 |
| C5    | 5x5 convolution                        | 1x1x120  |    48,120 |
| F6    | fully connected                        | 84       |    10,164 |
| out   | distance to a fixed 7x12 picture (RBF) | K        |         0 |
"""

import keras
import numpy as np
from keras import layers, ops

from models.layers.block import Block
from models.layers.grouped import GroupedConv2D

VARIANTS = {"lenet5": {}}
SIZE = 32

# Table I: which of S2's maps each of C3's sixteen sees.
C3_LINKS = (
    *((0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5)),
    *((0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5)),
    *((0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5)),
    (0, 1, 2, 3, 4, 5),
)

# After figure 3: what looks alike has codes that lie close. 7x12 points make F6 84 wide.
DIGITS = """
..###.. ...#... ..###.. ####### .....#. ####### ...###. ####### ..###.. ..###..
.#...#. ..##... .#...#. ......# ....##. #...... ..#.... ......# .#...#. .#...#.
#.....# .###... #.....# .....#. ...#.#. #...... .#..... ......# #.....# #.....#
#.....# ...#... ......# ....#.. ...#.#. #...... #...... .....#. #.....# #.....#
#.....# ...#... ......# ...##.. ..#..#. #.###.. #.###.. .....#. .#...#. #.....#
#.....# ...#... .....#. .....#. .#...#. ##...#. ##...#. ....#.. ..###.. #.....#
#.....# ...#... ....#.. ......# .#...#. ......# #.....# ....#.. .#...#. .#...##
#.....# ...#... ...#... ......# #....#. ......# #.....# ...#... #.....# ..###.#
#.....# ...#... ..#.... ......# ####### ......# #.....# ...#... #.....# ......#
#.....# ...#... .#..... #.....# .....#. #.....# #.....# ..#.... #.....# .....#.
.#...#. ...#... #...... .#...#. .....#. .#...#. .#...#. ..#.... .#...#. ....#..
..###.. .#####. ####### ..###.. .....#. ..###.. ..###.. ..#.... ..###.. .###...
"""
CODE_LENGTH = 7 * 12


def initial(fan_in: int) -> keras.Initializer:
    """Uniform within 2.4 / fan_in (appendix A)."""
    return keras.initializers.RandomUniform(-2.4 / fan_in, 2.4 / fan_in)


def squash(x):
    """1.7159 tanh(2x / 3), which maps 1 to 1 (appendix A)."""
    return 1.7159 * ops.tanh(x * (2 / 3))


def codes(num_classes: int) -> np.ndarray:
    """float32 [K, 84], each entry 1 or -1: the digits' pictures, or for other classes a draw."""
    if num_classes != 10:
        return np.random.default_rng(84).choice([-1, 1], (num_classes, CODE_LENGTH)).astype("f4")
    lines = [line.split() for line in DIGITS.split("\n") if line]
    drawn = [[mark == "#" for line in lines for mark in line[digit]] for digit in range(10)]
    return np.where(drawn, 1, -1).astype("f4")


@keras.saving.register_keras_serializable(package="triptych")
class SubSampling(Block):
    """Layer: the sum of each 2x2, times a weight, plus a bias.  [B, H, W, C] -> [B, H/2, W/2, C]

    Source:  LeCun 1998, section II.B, layer S2: two trainable numbers a map.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.mean = layers.AveragePooling2D(2, dtype=self.dtype_policy)

    def build(self, input_shape):
        self.coefficient = self.add_weight(
            name="coefficient", shape=(input_shape[-1],), initializer=initial(4)
        )
        self.bias = self.add_weight(name="bias", shape=(input_shape[-1],), initializer="zeros")

    def call(self, x):
        return 4 * self.mean(x) * self.coefficient + self.bias


@keras.saving.register_keras_serializable(package="triptych")
class LinkedConv(Block):
    """Layer: convolution by table I.  [B, H, W, 6] -> [B, H-4, W-4, 16]

    Source:  LeCun 1998, table I: "the main reason is that ... different feature maps are forced
             to extract different (hopefully, complementary) features".
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        # Maps with as many links lie side by side in the table: a grouped convolution each.
        self.links = [[m for m in C3_LINKS if len(m) == count] for count in (3, 4, 6)]
        self.convs = [
            GroupedConv2D(
                len(maps),
                5,
                groups=len(maps),
                kernel_initializer=initial(25 * len(maps[0])),
                dtype=self.dtype_policy,
            )
            for maps in self.links
        ]

    def call(self, x):
        seen = [ops.take(x, np.concatenate(maps), axis=-1) for maps in self.links]
        return ops.concatenate([conv(s) for conv, s in zip(self.convs, seen, strict=True)], axis=-1)


@keras.saving.register_keras_serializable(package="triptych")
class RadialBasis(Block):
    """Layer: minus the squared distance to each class's code.  [B, 84] -> [B, K]

    With a softmax after it, cross-entropy is the paper's discriminative loss.
    Source:  LeCun 1998, equations 7 and 9.
    Differs: without equation 9's constant j, of a class that is rubbish.
    """

    def __init__(self, num_classes: int, **kwargs):
        super().__init__(**kwargs)
        self.num_classes = num_classes

    def build(self, input_shape):
        self.codes = self.add_weight(
            name="codes",
            shape=(self.num_classes, CODE_LENGTH),
            initializer=lambda shape, dtype=None: ops.convert_to_tensor(codes(shape[0]), dtype),
            trainable=False,
        )

    def call(self, x):
        return -ops.sum(ops.square(ops.expand_dims(x, 1) - self.codes), axis=-1)


@keras.saving.register_keras_serializable(package="triptych")
class LeNet5(keras.Model):
    """LeNet-5.  [B, 32, 32, C] -> [B, K] logits; what is smaller is padded, as 28x28 digits are

    Args:    modern: C3 sees all maps, max pooling and ReLU, a fully connected layer at the end
             (what most people call LeNet-5 today; 61,706 parameters).
    Source:  LeCun 1998, section II.B: 60,000 trainable parameters.
    Differs: padding repeats the border, that of a digit being background; other classes than ten
             have random codes.
    """

    def __init__(
        self,
        num_classes: int,
        modern: bool = False,
        include_top: bool = True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.modern = modern
        self.include_top = include_top

        self.act = ops.relu if modern else squash
        self.c1 = layers.Conv2D(6, 5, kernel_initializer=self._initial(25))
        self.s2 = layers.MaxPooling2D(2) if modern else SubSampling()
        self.c3 = layers.Conv2D(16, 5, kernel_initializer="he_uniform") if modern else LinkedConv()
        self.s4 = layers.MaxPooling2D(2) if modern else SubSampling()
        self.c5 = layers.Conv2D(120, 5, kernel_initializer=self._initial(400))
        self.flatten = layers.Flatten()
        self.f6 = layers.Dense(CODE_LENGTH, kernel_initializer=self._initial(120))
        self.head = None
        if include_top:
            self.head = layers.Dense(num_classes) if modern else RadialBasis(num_classes)

    def call(self, images, training=None):
        x = self.act(self.c1(self._padded(images)))  # [B, 28, 28, 6]
        x = self.act(self.s2(x))  # [B, 14, 14, 6]
        x = self.act(self.c3(x))  # [B, 10, 10, 16]
        x = self.act(self.s4(x))  # [B, 5, 5, 16]
        x = self.act(self.c5(x))  # [B, 1, 1, 120]
        x = self.act(self.f6(self.flatten(x)))  # [B, 84]
        return self.head(x) if self.head else x  # [B, K]

    def _padded(self, images):
        missing = [max(0, SIZE - size) for size in images.shape[1:3]]
        if not any(missing):
            return images
        sides = [(m // 2, m - m // 2) for m in missing]
        return ops.pad(images, [(0, 0), *sides, (0, 0)], mode="symmetric")

    def _initial(self, fan_in: int) -> str | keras.Initializer:
        return "he_uniform" if self.modern else initial(fan_in)

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "modern": self.modern,
            "include_top": self.include_top,
        }
