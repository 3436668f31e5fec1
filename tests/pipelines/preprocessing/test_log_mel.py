"""The log-mel front end is librosa's."""

import librosa
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.preprocessing.audio import AudioPreprocessing
from pipelines.preprocessing.log_mel import LogMel

FRONT_ENDS = [
    {"sample_rate_hz": 8000},
    {"sample_rate_hz": 16000, "mel_bands": 64, "n_fft": 512, "window_length": 512},
    {"sample_rate_hz": 16000, "n_fft": 512, "window_length": 400, "hop_length": 160},
    {
        "sample_rate_hz": 22050,
        "mel_bands": 30,
        "n_fft": 501,
        "window_length": 333,
        "hop_length": 97,
    },
]


def librosas(log_mel: LogMel, waveform: np.ndarray) -> np.ndarray:
    config = log_mel.get_config()
    power = librosa.feature.melspectrogram(
        y=waveform,
        sr=config["sample_rate_hz"],
        n_fft=config["n_fft"],
        win_length=config["window_length"],
        hop_length=config["hop_length"],
        n_mels=config["mel_bands"],
        fmin=config["lowest_hz"],
        fmax=config["highest_hz"],
        pad_mode="constant",
    )
    return librosa.power_to_db(power, ref=1.0, top_db=None).T


@pytest.mark.parametrize("front_end", FRONT_ENDS)
@settings(max_examples=15, deadline=None)
@given(
    st.integers(1, 9000),
    st.sampled_from([0.0, 1e-4, 0.1, 1.0]),
    st.integers(0, 2**32 - 1),
)
def test_random_signals(front_end: dict, length: int, level: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    waveform = (level * rng.uniform(-1, 1, length)).astype(np.float32)
    log_mel = LogMel(**front_end)
    got = log_mel(tf.constant(waveform)).numpy()
    wanted = librosas(log_mel, waveform)
    assert got.shape == wanted.shape
    assert np.abs(got - wanted).max() < 1e-3


@pytest.mark.parametrize("front_end", FRONT_ENDS)
def test_a_loud_clip_says_nothing_about_a_quiet_one(front_end: dict) -> None:
    rng = np.random.default_rng(0)
    quiet = (1e-3 * rng.standard_normal(4000)).astype(np.float32)
    log_mel = LogMel(**front_end)
    alone = log_mel(tf.constant(quiet)).numpy()
    gap = np.zeros(4 * log_mel.n_fft // log_mel.hop_length * log_mel.hop_length, np.float32)
    loud = rng.standard_normal(2000).astype(np.float32)
    together = log_mel(tf.constant(np.concatenate([quiet, gap, loud]))).numpy()
    inside = len(quiet) // log_mel.hop_length - log_mel.n_fft // log_mel.hop_length
    np.testing.assert_allclose(together[:inside], alone[:inside], atol=1e-3)


def test_silence_is_finite() -> None:
    silence = LogMel(8000)(tf.zeros(800)).numpy()
    np.testing.assert_allclose(silence, -100.0, atol=1e-3)


def test_normalised_bands_have_mean_0_and_deviation_1() -> None:
    rng = np.random.default_rng(0)
    clips = [rng.standard_normal(n).astype(np.float32) for n in (3000, 4001, 900)]
    inputs = AudioPreprocessing({"sample_rate_hz": 8000}).fit(clips)
    frames = np.concatenate([inputs.preprocess(tf.constant(clip)).numpy() for clip in clips])
    np.testing.assert_allclose(frames.mean(axis=0), 0.0, atol=0.01)
    np.testing.assert_allclose(frames.std(axis=0), 1.0, atol=0.01)
    assert AudioPreprocessing(**inputs.get_config()).get_config() == inputs.get_config()


def test_a_window_longer_than_the_transform_is_refused() -> None:
    with pytest.raises(ValueError, match="window_length 400 is over n_fft 256"):
        LogMel(16000, n_fft=256, window_length=400)
