"""What training does to sounds is what it says, seeded, and in training alone."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from pipelines.export import export
from pipelines.run import Run, RunError, TrainConfig
from pipelines.sound_augmentation import (
    SoundAugmentation,
    at_speed,
    coloured_noise,
    shifted,
    with_noise,
)
from pipelines.train import train

RATE_HZ = 8000
ALL = {"speed": 0.1, "shift_seconds": 0.05, "snr_db": [10, 30], "time_masks": 2}


def decibels(signal: np.ndarray, noise: np.ndarray) -> float:
    return 10 * np.log10(np.mean(np.square(signal)) / np.mean(np.square(noise)))


@given(st.floats(-20, 40), st.integers(100, 3000), st.integers(0, 99))
def test_noise_has_the_ratio_that_was_asked_for(snr_db: float, length: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    clip = rng.standard_normal(length).astype(np.float32)
    noisy = with_noise(clip, coloured_noise(length, rng), snr_db)
    assert noisy.dtype == np.float32
    assert decibels(clip, noisy.astype(float) - clip) == pytest.approx(snr_db, abs=0.05)


def test_noise_is_between_white_and_brown() -> None:
    """Power over frequency, as a line in double logarithms: it falls by the power of 0 to 2."""
    rng = np.random.default_rng(0)
    noises = [coloured_noise(4001, rng) for _ in range(60)]  # 4001 is prime
    power = np.square(np.abs(np.fft.rfft(noises * np.hanning(4001))))[:, 1:]
    octaves = [power[:, 2**i : 2 ** (i + 1)].mean(axis=1) for i in range(3, 10)]
    slopes = np.polyfit(np.arange(3, 10), np.log2(octaves), 1)[0]
    assert -2.3 < slopes.min() < -1.7
    assert -0.3 < slopes.max() < 0.3
    assert np.mean(slopes) == pytest.approx(-1.0, abs=0.25)


def test_silence_stays_silent() -> None:
    clip = np.zeros(100, np.float32)
    np.testing.assert_array_equal(with_noise(clip, np.ones(100), 0.0), clip)


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.1])
def test_faster_is_shorter_and_higher(factor: float) -> None:
    tone = np.sin(2 * np.pi * 400 * np.arange(RATE_HZ) / RATE_HZ).astype(np.float32)
    y = at_speed(tone, factor)
    assert len(y) == pytest.approx(RATE_HZ / factor, abs=1)
    loudest_hz = np.argmax(np.abs(np.fft.rfft(y))) * RATE_HZ / len(y)
    assert loudest_hz == pytest.approx(400 * factor, abs=2)
    assert np.abs(y[1000:-1000]).max() == pytest.approx(1.0, abs=0.01)


@given(st.integers(1, 30), st.integers(-40, 40))
def test_a_shift_moves_and_leaves_silence(length: int, samples: int) -> None:
    clip = np.arange(1, length + 1, dtype=np.float32)
    wanted = [clip[i - samples] if 0 <= i - samples < length else 0 for i in range(length)]
    np.testing.assert_array_equal(shifted(clip, samples), wanted)


@given(st.integers(1, 60), st.integers(1, 30), st.integers(0, 99))
def test_masks_are_as_many_and_as_wide_as_allowed(time: int, bands: int, seed: int) -> None:
    masks = SoundAugmentation(
        level=0.0, frequency_masks=2, frequency_width=3, time_masks=1, time_width=4
    )
    frames = np.ones((time, bands), np.float32)
    y = masks.spectrogram(frames, np.random.default_rng(seed))
    assert (frames == 1).all()
    assert set(np.unique(y)) <= {0.0, 1.0}
    if (y == 0).all():
        return
    whole_bands, whole_frames = (y == 0).all(axis=0), (y == 0).all(axis=1)
    np.testing.assert_array_equal(y == 0, whole_bands[None] | whole_frames[:, None])
    assert whole_bands.sum() <= 2 * 3
    assert whole_frames.sum() <= 4


def test_the_original_is_left_alone() -> None:
    frames = np.random.default_rng(0).standard_normal((50, 40)).astype(np.float32)
    before = frames.copy()
    got = SoundAugmentation().spectrogram(frames, np.random.default_rng(0))
    assert got.dtype == np.float32
    assert not np.array_equal(got, frames)
    np.testing.assert_array_equal(frames, before)


def test_masks_do_hide_something() -> None:
    rng = np.random.default_rng(0)
    masked = [SoundAugmentation(level=0.0).spectrogram(np.ones((60, 40)), rng) for _ in range(50)]
    assert 0.7 < np.mean(masked) < 0.95


def test_one_seed_gives_one_clip() -> None:
    clip = np.random.default_rng(0).standard_normal(RATE_HZ).astype(np.float32)
    augmentation = SoundAugmentation(**ALL)
    first, second, other = (
        augmentation.waveform(clip, RATE_HZ, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, second)
    assert first.shape != other.shape or not np.array_equal(first, other)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"speed": 1.0}, "speed must be a share"),
        ({"snr_db": 10}, r"snr_db must be \[LOWEST, HIGHEST\], not 10"),
        ({"snr_db": [30, 5]}, r"\[LOWEST, HIGHEST\]"),
        ({"time_masks": -1}, "time_masks must not be negative"),
        ({"pitch": 2}, "pitch.*known are speed, shift_seconds"),
    ],
)
def test_amounts_that_cannot_be_are_named(options: dict, reason: str, data, tmp_path) -> None:
    config = TrainConfig("tc_resnet8", str(data / "sounds"), tmp_path / "run", augment=options)
    with pytest.raises((RunError, ValueError), match=reason):
        train(config)


def test_pictures_are_not_augmented_as_sounds(data, tmp_path) -> None:
    config = TrainConfig("resnet20", str(data / "images"), tmp_path / "run", augment=ALL)
    with pytest.raises(RunError, match=r"of sounds, and .*images is image"):
        train(config)


@pytest.fixture(scope="module")
def augmented(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of MFCCs at another rate, trained on clips that never were the same."""
    config = TrainConfig(
        "tc_resnet8",
        str(data / "sounds"),
        tmp_path_factory.mktemp("augmented") / "run",
        epochs=2,
        features="mfcc",
        feature_options={"coefficients": 12},
        sample_rate=8000,
        augment=ALL,
        options={"filters": [4, 6]},
    )
    return train(config)


def test_the_run_keeps_the_front_end_and_its_own_command(augmented: Path) -> None:
    run = Run.open(augmented)
    assert run.preprocessing().front_end.get_config()["coefficients"] == 12
    assert run.preprocessing().front_end.sample_rate_hz == 8000
    assert (
        " --features mfcc --feature-option coefficients=12 --sample-rate 8000 --augment speed=0.1"
        " --augment shift_seconds=0.05 --augment 'snr_db=[10,30]' --augment time_masks=2"
    ) in run.config["command"]


def test_nothing_random_is_exported(augmented: Path, tmp_path: Path) -> None:
    version = export(augmented, tmp_path, "mfcc")  # proves golden scores, so nothing else either
    manifest = json.loads((version / "assets.extra" / "manifest.json").read_text())
    assert manifest["input"]["audio"] == {"sampleRateHz": 8000, "melBands": 12}
    signatures = tf.saved_model.load(str(version)).signatures
    for name, signature in signatures.items():
        graph = signature.graph.as_graph_def()
        nodes = [*graph.node, *(n for f in graph.library.function for n in f.node_def)]
        assert not [node.op for node in nodes if "Random" in node.op], name
