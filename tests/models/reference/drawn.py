"""Convolutions of all kinds, for laws: one or two axes, strides, zeros, holes and groups."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from hypothesis import assume, settings
from hypothesis import strategies as st

from models.geometry import Padding, edges, extent
from tests.models.reference.checks import random

few = settings(max_examples=20, deadline=None, derandomize=True)


class Problem(NamedTuple):
    x: np.ndarray
    kernel: np.ndarray
    bias: np.ndarray
    options: dict[str, Any]

    @property
    def arguments(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.x, self.kernel, self.bias


@st.composite
def problems(
    draw: st.DrawFn,
    axes: int | None = None,
    groups: Sequence[int] = (1, 2, 3),
    paddings: Sequence[Padding] = ("same", "valid", 1, (0, 2)),
    stride_and_dilation: bool = True,
) -> Problem:
    axes = axes or draw(st.integers(1, 2))
    size = [draw(st.integers(1, 6)) for _ in range(axes)]
    kernel_size = [draw(st.integers(1, 3)) for _ in range(axes)]
    stride, dilation = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    assume(stride_and_dilation or 1 in (stride, dilation))
    padding, parts = draw(st.sampled_from(paddings)), draw(st.sampled_from(groups))
    for n, k in zip(size, kernel_size, strict=True):
        covered = extent(k, dilation)
        assume(covered <= n + sum(edges(n, k, stride, padding, dilation)))
    channels, filters = draw(st.integers(1, 2)), parts * draw(st.integers(1, 2))
    return Problem(
        random(draw(st.integers(1, 2)), *size, parts * channels),
        random(*kernel_size, channels, filters, seed=1),
        random(filters, seed=2),
        {"stride": stride, "padding": padding, "dilation": dilation, "groups": parts},
    )
