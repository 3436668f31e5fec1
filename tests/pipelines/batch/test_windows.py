"""Parts of long inputs: against the whole input, decoded in one go."""

import io
import itertools

import numpy as np
import pyarrow as pa
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipelines.batch.errors import BatchError
from pipelines.batch.predictor import Predictor
from pipelines.batch.schema import Row
from pipelines.batch.windows import BLOCK_SECONDS, SoundWindows, Tiles, events
from serving.runtime.decoding import DEFAULT_LIMITS, decode_audio
from tests.pipelines.batch.conftest import OPENING
from tests.serving.conftest import SAMPLE_RATE_HZ, SIDE, Tiny, png, wav

RATE = 8_000


def sound(samples: int, rate: int = RATE, seed: int = 0) -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(seed).normal(0, 0.1, samples)
    soundfile.write(file, noise, rate, format="WAV", subtype="FLOAT")
    return file.getvalue()


@given(
    samples=st.integers(1, 3 * RATE),
    window=st.integers(1, RATE),
    hop=st.integers(1, RATE),
)
@settings(deadline=None, max_examples=60)
def test_windows_are_parts_of_the_sound_and_leave_nothing_out(
    samples: int, window: int, hop: int
) -> None:
    hop = min(max(hop, samples // 50 + 1), window)  # not too many of them
    whole = decode_audio(sound(samples), RATE)
    cutter = SoundWindows(window / RATE, hop / RATE, RATE, DEFAULT_LIMITS)
    reached = 0
    starts = []
    for part, (start_seconds, end_seconds) in cutter.cut(sound(samples)):
        start, end = round(start_seconds * RATE), round(end_seconds * RATE)
        np.testing.assert_array_equal(part, whole[start:end])
        assert end - start == min(window, samples)
        assert start <= reached < end  # nothing is left out, and each is new
        reached = end
        starts.append(start)
    assert reached == samples
    assert starts[:-1] == [i * hop for i in range(len(starts) - 1)]


def test_long_sounds_are_read_in_blocks_and_resampled_as_in_one_go() -> None:
    """Within what soxr's own streams differ by."""
    data = sound(int(3.3 * BLOCK_SECONDS * 11_025), rate=11_025)
    whole = decode_audio(data, RATE)
    cutter = SoundWindows(1.0, 1.0, RATE, DEFAULT_LIMITS)
    parts = list(cutter.cut(data))
    assert parts[-1][1][1] == pytest.approx(len(whole) / RATE)
    for part, (start_seconds, _) in parts:
        start = round(start_seconds * RATE)
        np.testing.assert_allclose(part, whole[start : start + RATE], atol=1e-5)


def test_a_hop_beyond_the_window_is_refused() -> None:
    with pytest.raises(BatchError, match="does not fit"):
        SoundWindows(1.0, 1.5, RATE, DEFAULT_LIMITS)


@given(height=st.integers(1, 40), width=st.integers(1, 40))
@settings(deadline=None, max_examples=40)
def test_tiles_cover_the_picture(height: int, width: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    seen = np.zeros((height, width), int)
    for tile, (top, left, bottom, right) in Tiles(8, 12, DEFAULT_LIMITS).cut(file.getvalue()):
        np.testing.assert_array_equal(tile, pixels[top:bottom, left:right])
        assert tile.shape[:2] == (min(8, height), min(12, width))
        seen[top:bottom, left:right] += 1
    assert seen.min() >= 1
    assert seen.max() <= 4


def test_events_are_neighbours_of_one_label() -> None:
    best = [0, 0, 1, None, 1, 1, 1, 0]
    parts = [
        (Row("x", (float(i), i + 2.0)), None if k is None else scores(k, i))
        for i, k in enumerate(best)
    ]
    found = list(events(parts))
    assert [row.position for row, _ in found] == [
        (0.0, 3.0),
        (2.0, 4.0),
        (3.0, 5.0),
        (4.0, 8.0),
        (7.0, 9.0),
    ]
    np.testing.assert_allclose(found[0][1], (scores(0, 0) + scores(0, 1)) / 2)
    assert found[2][1] is None


def scores(k: int, seed: int) -> np.ndarray:
    share = 0.6 + seed / 50
    return np.array([share, 1 - share] if k == 0 else [1 - share, share], np.float32)


def table(*items: bytes) -> pa.Table:
    names = pa.array([f"input {i}" for i in range(len(items))], pa.string())
    return pa.table({"input": names, "data": pa.array(items, pa.binary())})


def test_rows_of_windows_are_those_of_the_cut_sound(models, tiny: Tiny) -> None:
    """Each window written as a file of its own, and that through TensorFlow alone."""
    samples = np.random.default_rng(0).integers(-9000, 9000, 2 * SAMPLE_RATE_HZ + 1000, np.int16)
    samples[: SAMPLE_RATE_HZ // 2] //= 50  # so that not all sounds alike
    window, hop = SAMPLE_RATE_HZ // 2, SAMPLE_RATE_HZ // 4
    predictor = Predictor(
        "audio",
        repository=models,
        window=0.5,
        hop=0.25,
        all_scores=True,
        **OPENING,
    )
    rows = predictor(table(wav(samples), b"junk")).to_pylist()
    assert rows[-1]["start_seconds"] is None
    assert rows[-1]["error"] is not None
    starts = [*range(0, len(samples) - window + 1, hop), len(samples) - window]
    for row, start in zip(rows[:-1], starts, strict=True):
        assert (row["start_seconds"], row["end_seconds"]) == (
            start / SAMPLE_RATE_HZ,
            (start + window) / SAMPLE_RATE_HZ,
        )
        wanted = tiny.scores("audio", wav(samples[start : start + window]))
        np.testing.assert_allclose(row["all_scores"], wanted, atol=1e-5)
    together = Predictor(
        "audio",
        repository=models,
        window=0.5,
        hop=0.25,
        with_events=True,
        **OPENING,
    )(table(wav(samples))).to_pylist()
    assert together[0]["start_seconds"] == 0.0
    assert together[-1]["end_seconds"] == len(samples) / SAMPLE_RATE_HZ
    best = [row["labels"][0] for row in rows[:-1]]
    changes = 1 + sum(a != b for a, b in itertools.pairwise(best))
    assert len(together) == changes
    assert all(a["labels"][0] != b["labels"][0] for a, b in itertools.pairwise(together))


def test_rows_of_tiles_are_those_of_the_cut_picture(models, tiny: Tiny) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE * 2, SIDE * 2 + 3, 3), np.uint8)
    predictor = Predictor("image", repository=models, tiles=True, all_scores=True, **OPENING)
    rows = predictor(table(png(pixels))).to_pylist()
    assert len(rows) == 2 * 3
    for row in rows:
        tile = pixels[row["top"] : row["bottom"], row["left"] : row["right"]]
        wanted = tiny.scores("image", png(tile))
        np.testing.assert_allclose(row["all_scores"], wanted, atol=1e-5)
