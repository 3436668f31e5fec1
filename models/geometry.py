"""Sizes and receptive fields of convolutions and pools, by arithmetic alone: no TensorFlow here.

All of it is along one axis; height and width don't know of each other.

Source:  Dumoulin & Visin 2016, arXiv 1603.07285, for the sizes; Araujo 2019, "Computing Receptive
         Fields of Convolutional Neural Networks", doi 10.23915/distill.00021, for the fields.
"""

from typing import Literal, NamedTuple

# "same" and "valid" as in TensorFlow; a number of zeros on each side; (before, after).
Padding = Literal["same", "valid"] | int | tuple[int, int]


def extent(kernel_size: int, dilation: int = 1) -> int:
    """What a kernel covers. A dilation of 1 is none: 2 makes 3 cover 5."""
    return dilation * (kernel_size - 1) + 1


def edges(
    size: int, kernel_size: int, stride: int = 1, padding: Padding = "valid", dilation: int = 1
) -> tuple[int, int]:
    """Zeros (before, after) the input.

    "same" takes as few as give ceil(size / stride) positions, and of an odd number one more
    after: at stride 2 it isn't the 1 on each side of Caffe and PyTorch.
    """
    if padding == "valid":
        return 0, 0
    if padding == "same":
        positions = -(-size // stride)
        zeros = max(0, (positions - 1) * stride + extent(kernel_size, dilation) - size)
        return zeros // 2, zeros - zeros // 2
    return (padding, padding) if isinstance(padding, int) else padding


def convolved(
    size: int, kernel_size: int, stride: int = 1, padding: Padding = "valid", dilation: int = 1
) -> int:
    """Positions of a kernel on an input: floor((size + zeros - extent) / stride) + 1.

    Raises:  ValueError if the kernel is larger than the padded input.
    """
    return _room(size, kernel_size, stride, padding, dilation) // stride + 1


def pooled(
    size: int,
    pool_size: int,
    stride: int | None = None,
    padding: Padding = "valid",
    ceil_mode: bool = False,
    dilation: int = 1,
) -> int:
    """Positions of a pool's window.

    Args:    stride: the window's size, if None; ceil_mode: the last window may hang over the
             edge, but must start within the input or the zeros before it (as in PyTorch).
    Raises:  as `convolved`.
    """
    stride = stride or pool_size
    room = _room(size, pool_size, stride, padding, dilation)
    if not ceil_mode:
        return room // stride + 1
    positions = -(-room // stride) + 1
    before, _ = edges(size, pool_size, stride, padding, dilation)
    return positions - 1 if (positions - 1) * stride >= size + before else positions


def transposed(
    size: int,
    kernel_size: int,
    stride: int = 1,
    padding: Padding = "valid",
    dilation: int = 1,
    output_padding: int | None = None,
) -> int:
    """The size of a transposed convolution's output: an input's that is convolved to `size`.

    At stride s there are s such inputs. `output_padding` chooses one, counted from the
    smallest. None leaves it to the padding's kind: "same" gives size * stride, "valid" the
    smallest that each input position has a stride of its own in, a number the smallest.
    """
    covered = extent(kernel_size, dilation)
    if output_padding is None:
        if padding == "same":
            return size * stride
        output_padding = max(0, stride - covered) if padding == "valid" else 0
    # Keras's "same" takes half the kernel off each side, whatever the stride.
    sides = 2 * (covered // 2) if padding == "same" else sum(edges(0, 1, 1, padding))
    return (size - 1) * stride + covered - sides + output_padding


def _room(size: int, kernel_size: int, stride: int, padding: Padding, dilation: int) -> int:
    """How far the kernel can move."""
    zeros = edges(size, kernel_size, stride, padding, dilation)
    room = size + sum(zeros) - extent(kernel_size, dilation)
    if room < 0:
        raise ValueError(
            f"a kernel that covers {extent(kernel_size, dilation)} doesn't fit on {size} with"
            f" {zeros[0]} + {zeros[1]} zeros"
        )
    return room


class Field(NamedTuple):
    """What position i sees of the input: start + i * stride, and `size` of it from there on.

    What lies outside of the input are padding's zeros. A stride of 0: all see the same, as after
    global pooling.
    """

    size: int = 1
    stride: int = 1
    start: int = 0

    def through(
        self, kernel_size: int, stride: int = 1, before: int = 0, dilation: int = 1
    ) -> "Field":
        """Of a convolution or pool on top of this, with `before` zeros at the start."""
        return Field(
            self.size + (extent(kernel_size, dilation) - 1) * self.stride,
            self.stride * stride,
            self.start - before * self.stride,
        )

    def over(self, positions: int) -> "Field":
        """Of what takes all the positions together, as global pooling."""
        return Field(self.size + (positions - 1) * self.stride, 0, self.start)

    def union(self, other: "Field", positions: int) -> "Field":
        """Of what takes both at each position, as a sum of two branches."""
        if self.stride != other.stride:  # one of them is the same everywhere
            return self.over(positions).union(other.over(positions), positions)
        start = min(self.start, other.start)
        end = max(self.start + self.size, other.start + other.size)
        return Field(end - start, self.stride, start)

    def at(self, position: int) -> range:
        start = self.start + position * self.stride
        return range(start, start + self.size)
