"""The classification extension, row by row against what its definition says."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from serving.errors import InvalidInput
from serving.protocols.open_inference_classification import MAX_CLASSES, classified

LABELS = ["red", "green", "blue"]


def test_a_class_is_value_index_label() -> None:
    scores = np.array([[0.25, 0.5, 0.125], [1, 0, 1e-7]], np.float32)
    assert classified(scores, LABELS, 2, batched=True).tolist() == [
        [b"0.500000:1:green", b"0.250000:0:red"],
        [b"1.000000:0:red", b"0.000000:2:blue"],
    ]
    assert classified(scores, LABELS, 9, batched=True).shape == (2, 3)


def test_without_labels_or_a_batch() -> None:
    values = np.array([[3, -7], [9, 0]], np.int64)
    assert classified(values, LABELS, 2, batched=False).tolist() == [b"9:2", b"3:0"]
    assert classified(values, [], 1, batched=True).tolist() == [[b"3:0"], [b"9:0"]]


@given(
    hnp.arrays(
        st.sampled_from([np.float32, np.float64, np.int8, np.uint8, np.uint64, np.int32]),
        st.tuples(st.integers(1, 3), st.integers(1, 9)),
    ),
    st.integers(1, 10),
)
def test_the_best_come_first_and_of_equals_the_lower_index(values: np.ndarray, most: int) -> None:
    found = classified(values, [], most, batched=True)
    assert found.shape == (len(values), min(most, values.shape[1]))
    for row, texts in zip(values.tolist(), found, strict=True):
        wanted = sorted(
            range(len(row)),
            key=lambda i: (1, 0, i) if math.isnan(row[i]) else (0, -row[i], i),
        )
        assert [int(text.split(b":")[1]) for text in texts] == wanted[:most]


def test_what_cannot_be_ranked_is_refused() -> None:
    for values in (np.array([[b"a"]], object), np.ones((1, 2), np.float16), np.ones((1, 2), bool)):
        with pytest.raises(InvalidInput, match="class result not available for output due to"):
            classified(values, [], 1, batched=True)
    huge = np.broadcast_to(np.float32(1), (1, MAX_CLASSES + 1))
    with pytest.raises(InvalidInput, match="classification output tensor too large"):
        classified(huge, [], 1, batched=True)
