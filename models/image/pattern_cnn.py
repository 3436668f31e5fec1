"""The pattern of most plain networks, from one line of text (Stanford's CS231n notes).

    INPUT -> [[CONV -> RELU]*N -> POOL?]*M -> [FC -> RELU]*K -> FC   0 <= N <= 3, M >= 0, 0 <= K < 3

| text                                                                      | what               |
|---------------------------------------------------------------------------|--------------------|
| INPUT -> FC                                                               | linear classifier  |
| INPUT -> CONV -> RELU -> FC                                               | N = M = 1, no POOL |
| INPUT -> [CONV -> RELU -> POOL]*2 -> FC -> RELU -> FC                     | N = 1, M = 2       |
| INPUT -> [CONV -> RELU -> CONV -> RELU -> POOL]*3 -> [FC -> RELU]*2 -> FC | N = 2, M = 3       |

The notes size it so that POOL alone makes maps smaller: CONV 3x3 with stride 1 and zeros around,
POOL 2x2, an input that can be halved as often. Text that isn't of the pattern is an error, a size
that doesn't divide a warning; both point at the place.
"""

import re
import warnings
from typing import NamedTuple, NoReturn

import keras
from keras import layers

from models.geometry import convolved, pooled
from models.layers.block import Block
from models.layers.head import POOLS, Head, Pooling, check_pooling

VARIANTS = {"pattern_cnn": {}}
PATTERN = "INPUT -> [[CONV -> RELU]*2 -> POOL]*3 -> [FC -> RELU]*1 -> FC"
MAX_N, MAX_K = 3, 2
MAX_TIMES, MAX_DEPTH = 99, 2
POOL_SIZE = 2

TOKEN = re.compile(
    r"(?P<layer>\b(?:INPUT|CONV|RELU|POOL|FC)\b(?:(?<=POOL)\s*\?)?)|(?P<arrow>->|[-→])"
    r"|(?P<times>[*×]\s*[0-9]*)|(?P<open>\[)|(?P<close>\])|(?P<other>\w+|\S)",
    re.IGNORECASE,
)
END = "the end"
FOLLOWERS = {
    "": ("INPUT",),
    "INPUT": ("CONV", "POOL", "FC"),
    "CONV": ("RELU",),
    "CONV -> RELU": ("CONV", "POOL", "FC"),
    "POOL": ("CONV", "POOL", "FC"),
    "FC": ("RELU", END),
    "FC -> RELU": ("FC",),
}


class PatternError(ValueError):
    """Text that isn't of the pattern, or a map too small to pool: what, where, what may be."""


class PatternWarning(UserWarning):
    """A stride or pooling that doesn't divide what it gets: where, and what it leaves out."""


class Token(NamedTuple):
    kind: str  # one of TOKEN's groups, or "end"
    text: str
    start: int
    end: int

    @property
    def layer(self) -> str:
        return self.text.rstrip("? \t")

    @property
    def optional(self) -> bool:
        return self.text.endswith("?")


def pointed(problem: str, pattern: str, token: Token) -> str:
    return f"{problem}\n  {pattern}\n  {' ' * token.start}{'^' * max(1, token.end - token.start)}"


def parse(pattern: str) -> list[Token]:
    """The layers in their order, INPUT first, with all repetitions written out.

    Args:    pattern: in upper or lower case; "→" and "-" are arrows, too.
    Raises:  PatternError.
    """
    found: list[Token] = []
    before, convs, hidden = "", 0, 0
    for token in _Reader(pattern).read():
        if token.kind == "close" or token.layer == "POOL":
            convs = 0
        if token.kind == "close":
            continue
        name = token.layer or END
        allowed = FOLLOWERS[before]
        if name not in allowed:
            place = f"after {before}" if before else "at the beginning"
            raise PatternError(
                pointed(f"{' or '.join(allowed)} may stand {place}, not {name}", pattern, token)
            )
        before = f"{before} -> RELU" if name == "RELU" else name
        convs += before == "CONV"
        hidden += before == "FC -> RELU"
        if convs > MAX_N:
            problem = f"at most {MAX_N} CONV -> RELU in a stage: POOL or FC may stand here"
            raise PatternError(pointed(problem, pattern, token))
        if hidden > MAX_K:
            problem = f"at most {MAX_K} FC -> RELU: the end may stand after this FC"
            raise PatternError(pointed(problem, pattern, found[-1]))
        found.append(token)
    return found[:-1]


class _Reader:
    """Writes brackets and repetitions out; which layer may follow which is not its business.

    Where a bracket with a bracket in it ends, so does a stage: its "]" stays.
    """

    def __init__(self, pattern: str):
        self.pattern = pattern
        self.tokens = [
            Token(match.lastgroup or "", match[0].upper(), *match.span())
            for match in TOKEN.finditer(pattern)
        ]
        self.tokens.append(Token("end", "", len(pattern), len(pattern)))
        self.place = 0

    def read(self) -> list[Token]:
        found = self._sequence(depth=0)
        return [*found, self._take("end") or self._refuse("->", "*", END)]

    def _sequence(self, depth: int) -> list[Token]:
        found = self._item(depth)
        while self._take("arrow"):
            found = found + self._item(depth)
        return found

    def _item(self, depth: int) -> list[Token]:
        if layer := self._take("layer"):
            found = [layer]
        elif depth < MAX_DEPTH and self._take("open"):
            begin = self.place
            found = self._sequence(depth + 1)
            close = self._take("close") or self._refuse("->", "*", "]")
            if any(token.kind == "open" for token in self.tokens[begin : self.place]):
                found = [*found, close]
        else:
            self._refuse("INPUT, CONV, RELU, POOL, FC", *("[",) * (depth < MAX_DEPTH))
        return found * self._times()

    def _times(self) -> int:
        token = self._take("times")
        if token is None:
            return 1
        digits = token.text[1:].strip()
        if not digits or int(digits) > MAX_TIMES:
            problem = f"a number up to {MAX_TIMES} may stand after {token.text[0]}"
            raise PatternError(pointed(problem, self.pattern, token))
        return int(digits)

    def _take(self, kind: str) -> Token | None:
        token = self.tokens[self.place]
        if token.kind != kind:
            return None
        self.place += 1
        return token

    def _refuse(self, *allowed: str) -> NoReturn:
        token = self.tokens[self.place]
        problem = f"{' or '.join(allowed)} may stand here, not {token.text or END}"
        raise PatternError(pointed(problem, self.pattern, token))


class Size(NamedTuple):
    layer: Token
    height: int
    width: int
    left_out: tuple[int, int]  # rows and columns at the end that no window reaches


def sizes(
    pattern: str, height: int, width: int, kernel_size: int = 3, stride: int = 1
) -> list[Size]:
    """What each CONV and POOL gives, from an input of height x width.

    Raises:  PatternError if a map is too small to pool.
    """
    found = []
    now = (height, width)
    for token in parse(pattern):
        if token.layer == "CONV":
            zeros = (kernel_size - 1) // 2
            left_out = [(size + 2 * zeros - kernel_size) % stride for size in now]
            now = tuple(convolved(size, kernel_size, stride, zeros) for size in now)
        elif token.layer == "POOL":
            left_out = [size % POOL_SIZE for size in now]
            if token.optional and any(left_out):
                left_out = [0, 0]
            elif min(now) < POOL_SIZE:
                problem = f"nothing to pool in {now[0]}x{now[1]}: CONV or FC may stand here"
                raise PatternError(pointed(problem, pattern, token))
            else:
                now = tuple(pooled(size, POOL_SIZE) for size in now)
        else:
            continue
        found.append(Size(token, *now, tuple(left_out)))
    return found


@keras.saving.register_keras_serializable(package="triptych")
class PatternConv(Block):
    """Layer: CONV -> RELU.  [B, H, W, C] -> [B, H/s, W/s, filters]

    Args:    kernel_size: odd, so that (kernel_size - 1) / 2 zeros on each side keep the size;
             separable: a depthwise convolution and a 1x1 one.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int = 3,
        stride: int = 1,
        separable: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        start = {"kernel_initializer": "he_normal"}
        if separable:
            start = dict.fromkeys(("depthwise_initializer", "pointwise_initializer"), "he_normal")
        # At stride 2, Keras's "same" would put fewer zeros before than the notes' rule.
        zeros = layers.ZeroPadding2D((kernel_size - 1) // 2, dtype=self.dtype_policy)
        self.pad = None if stride == 1 else zeros
        self.conv = (layers.SeparableConv2D if separable else layers.Conv2D)(
            filters,
            kernel_size,
            strides=stride,
            padding="same" if stride == 1 else "valid",
            activation="relu",
            dtype=self.dtype_policy,
            **start,
        )

    def call(self, x):
        return self.conv(self.pad(x) if self.pad else x)


@keras.saving.register_keras_serializable(package="triptych")
class PatternPool(Block):
    """Layer: POOL, the largest of each 2x2.  [B, H, W, C] -> [B, H/2, W/2, C]

    Args:    optional: POOL?, nothing for odd sizes.
    """

    def __init__(self, optional: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.optional = optional
        self.pool = layers.MaxPooling2D(POOL_SIZE, dtype=self.dtype_policy)

    def call(self, x):
        odd = any(size is not None and size % POOL_SIZE for size in x.shape[1:3])
        return x if self.optional and odd else self.pool(x)


@keras.saving.register_keras_serializable(package="triptych")
class PatternHead(Block):
    """Layer: [FC -> RELU]*K -> FC.  [B, H, W, C] -> [B, K] logits"""

    def __init__(
        self, num_classes: int, units: tuple[int, ...] = (), pooling: Pooling = None, **kwargs
    ):
        super().__init__(**kwargs)
        check_pooling(pooling)
        self.pool = POOLS[pooling](dtype=self.dtype_policy)
        self.hidden = [
            layers.Dense(n, "relu", kernel_initializer="he_normal", dtype=self.dtype_policy)
            for n in units
        ]
        self.logits = layers.Dense(num_classes, dtype=self.dtype_policy)

    def call(self, features):
        x = self.pool(features)
        for layer in self.hidden:
            x = layer(x)
        return self.logits(x)


@keras.saving.register_keras_serializable(package="triptych")
class PatternCNN(keras.Model):
    """The network that a line of text describes.  [B, H, W, C] -> [B, K] logits

    Building it warns (PatternWarning) where a stride or pooling doesn't divide.

    Args:    pattern: as above; "POOL?" pools where height and width are even; filters: before the
             first POOL, twice as many after each, a "POOL?" too; kernel_size: odd; stride: of
             each CONV; units: of each FC but the last; separable: all CONV but the first are a
             depthwise convolution and a 1x1 one; pooling: "avg" or "max" over all positions
             before the first FC.
    Raises:  PatternError if the text isn't of the pattern; ValueError for an even kernel_size.
    Source:  CS231n, "ConvNet Architectures": "Layer Patterns", "Layer Sizing Patterns".
    Differs: the notes leave the filters open.
    """

    def __init__(
        self,
        num_classes: int,
        pattern: str = PATTERN,
        filters: int = 32,
        kernel_size: int = 3,
        stride: int = 1,
        units: int = 256,
        separable: bool = False,
        pooling: Pooling = None,
        include_top: bool = True,
        **kwargs,
    ):
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, as 3 or 5, not {kernel_size}")
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.pattern = pattern
        self.filters = filters
        self.kernel_size = kernel_size
        self.stride = stride
        self.units = units
        self.separable = separable
        self.pooling = pooling
        self.include_top = include_top

        self.features = []
        names = []
        for token in parse(pattern):
            names.append(token.layer)
            if token.layer == "CONV":
                deep = separable and names.count("CONV") > 1
                self.features.append(PatternConv(filters, kernel_size, stride, deep))
            elif token.layer == "POOL":
                self.features.append(PatternPool(token.optional))
                filters *= 2
        if include_top:
            self.head = PatternHead(num_classes, (units,) * (names.count("FC") - 1), pooling)
        else:
            self.head = Head(num_classes, pooling, include_top)

    def build(self, input_shape):
        if None not in input_shape[1:3]:
            self._warn(*input_shape[1:3])
        self.call(keras.KerasTensor(input_shape, dtype=self.compute_dtype))

    def _warn(self, height: int, width: int) -> None:
        for size in sizes(self.pattern, height, width, self.kernel_size, self.stride):
            if any(size.left_out):
                what = " and ".join(
                    f"{count} {unit}{'s' if count > 1 else ''}"
                    for count, unit in zip(size.left_out, ("row", "column"), strict=True)
                    if count
                )
                zeros = " and the zeros around it" if size.layer.layer == "CONV" else ""
                problem = (
                    f"{size.layer.layer} leaves out {what} of its {height}x{width} input{zeros}"
                )
                text = pointed(problem, self.pattern, size.layer)
                warnings.warn(text, PatternWarning, stacklevel=2)
            height, width = size.height, size.width

    def call(self, images, training=None):
        x = images
        for layer in self.features:
            x = layer(x)
        return self.head(x)  # [B, H/8, W/8, 8f] -> [B, K]

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "pattern": self.pattern,
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "stride": self.stride,
            "units": self.units,
            "separable": self.separable,
            "pooling": self.pooling,
            "include_top": self.include_top,
        }
