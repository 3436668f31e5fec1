"""Each front end is librosa's, with each of its settings."""

from typing import Any

import librosa
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.preprocessing.audio import FRONT_ENDS, AudioPreprocessing

# fmt: off
CASES: list[tuple[str, dict[str, Any]]] = [
    ("spectrogram", {"sample_rate_hz": 8000}),
    ("spectrogram", {"sample_rate_hz": 8000, "n_fft": 300, "window_length": 300, "hop_length": 77,
                     "padding": "reflect", "power": 1, "window": "hamming"}),
    ("spectrogram", {"sample_rate_hz": 16000, "padding": "edge", "power": 1, "scale": "linear"}),
    ("spectrogram", {"sample_rate_hz": 8000, "centre": False, "scale": "log",
                     "window": "blackman"}),
    ("log-mel", {"sample_rate_hz": 8000}),
    ("log-mel", {"sample_rate_hz": 22050, "mel_bands": 30, "n_fft": 501, "window_length": 333,
                 "hop_length": 97}),
    # PANNs' front end, at a quarter of its rate.
    ("log-mel", {"sample_rate_hz": 8000, "mel_bands": 64, "n_fft": 1024, "window_length": 1024,
                 "hop_length": 80, "lowest_hz": 50, "highest_hz": 3500, "padding": "reflect"}),
    ("log-mel", {"sample_rate_hz": 16000, "n_fft": 1024, "mel_scale": "htk", "mel_norm": None,
                 "scale": "log", "window_length": 480}),
    ("log-mel", {"sample_rate_hz": 16000, "mel_bands": 30, "power": 1, "centre": False}),
    ("mfcc", {"sample_rate_hz": 8000}),
    # Hello Edge's: 10 coefficients, of 40 ms, every 20 ms.
    ("mfcc", {"sample_rate_hz": 16000, "coefficients": 10, "window_length": 640,
              "hop_length": 320}),
    ("mfcc", {"sample_rate_hz": 16000, "n_fft": 512, "coefficients": 13, "mel_scale": "htk",
              "padding": "edge"}),
]
# fmt: on
TOLERANCE = 1e-3  # dB: what float32 leaves of the sums in an FFT
FFT_ERROR = 2e-6  # of a frame's largest amplitude, which shows where a frequency is nearly absent


def librosas(features: str, c: dict[str, Any], waveform: np.ndarray) -> np.ndarray:
    magnitude = np.abs(
        librosa.stft(
            waveform,
            n_fft=c["n_fft"],
            win_length=c["window_length"],
            hop_length=c["hop_length"],
            window=c["window"],
            center=c["centre"],
            pad_mode=c["padding"],
        )
    )
    x = magnitude ** c["power"]
    if features != "spectrogram":
        x = librosa.feature.melspectrogram(
            S=x,
            sr=c["sample_rate_hz"],
            n_fft=c["n_fft"],
            n_mels=c["mel_bands"],
            fmin=c["lowest_hz"],
            fmax=c["highest_hz"],
            htk=c["mel_scale"] == "htk",
            norm=c["mel_norm"],
        )
    if c["scale"] == "decibel":
        to_db = librosa.power_to_db if c["power"] == 2 else librosa.amplitude_to_db
        x = to_db(x, ref=1.0, top_db=None)
    elif c["scale"] == "log":
        x = np.log(np.maximum(x, 1e-10))
    if features == "mfcc":
        x = librosa.feature.mfcc(S=x, n_mfcc=c["coefficients"])
    return x.T


@pytest.mark.parametrize(("features", "options"), CASES)
@settings(max_examples=6, deadline=None)
@given(st.integers(1, 6000), st.sampled_from([0.0, 1e-3, 1.0]), st.integers(0, 2**32 - 1))
def test_random_signals(features: str, options: dict, length: int, level: float, seed: int) -> None:
    front_end = FRONT_ENDS[features](**options)
    config = front_end.get_config()
    if not config["centre"]:
        length = max(length, config["n_fft"])  # librosa gives no frame then; see below
    noise = np.random.default_rng(seed).uniform(-1, 1, length)
    waveform = (level * noise).astype(np.float32)
    got = front_end(tf.constant(waveform)).numpy()
    wanted = librosas(features, config, waveform)
    assert got.shape == wanted.shape == (len(wanted), front_end.bands)
    assert (np.abs(got - wanted) < allowed(features, config, waveform)).all()


def allowed(features: str, config: dict[str, Any], waveform: np.ndarray) -> np.ndarray:
    """A difference for each number of librosa's: more where float32 knows little of a band."""
    bands = librosas("log-mel" if features == "mfcc" else features, config, waveform)
    decibel = 20 / np.log(10)
    unit = 1.0 if config["scale"] == "decibel" else decibel / config["power"]
    below = unit * (bands - bands.max(axis=1, keepdims=True))  # dB
    of_bands = (TOLERANCE + decibel * np.log1p(FFT_ERROR / 10 ** (below / 20))) / unit
    if features == "mfcc":  # a rotation of the bands
        return np.linalg.norm(of_bands, axis=1, keepdims=True)
    return of_bands


@pytest.mark.parametrize(("features", "options"), CASES)
def test_settings_make_the_same_front_end_again(features: str, options: dict) -> None:
    config = FRONT_ENDS[features](**options).get_config()
    assert FRONT_ENDS[features](**config).get_config() == config
    assert all(config[name] == value for name, value in options.items())


@pytest.mark.parametrize("features", FRONT_ENDS)
def test_a_loud_clip_says_nothing_about_a_quiet_one(features: str) -> None:
    rng = np.random.default_rng(0)
    quiet = (1e-3 * rng.standard_normal(4000)).astype(np.float32)
    front_end = FRONT_ENDS[features](8000)
    config = front_end.get_config()
    frame = config["n_fft"] // config["hop_length"]
    gap = np.zeros(4 * frame * config["hop_length"], np.float32)
    loud = rng.standard_normal(2000).astype(np.float32)
    together = front_end(np.concatenate([quiet, gap, loud])).numpy()
    inside = len(quiet) // config["hop_length"] - frame
    np.testing.assert_allclose(together[:inside], front_end(quiet).numpy()[:inside], atol=1e-2)


def test_silence_is_finite() -> None:
    silence = FRONT_ENDS["log-mel"](8000)(tf.zeros(800)).numpy()
    np.testing.assert_allclose(silence, -100.0, atol=1e-3)


def test_a_short_clip_that_is_not_centred_is_one_frame() -> None:
    front_end = FRONT_ENDS["spectrogram"](8000, centre=False)
    clip = np.random.default_rng(0).standard_normal(100).astype(np.float32)
    padded = np.pad(clip, (0, front_end.n_fft - 100))
    np.testing.assert_array_equal(front_end(clip), front_end(padded))
    assert front_end(clip).shape[0] == 1


@pytest.mark.parametrize("features", FRONT_ENDS)
def test_bands_of_any_front_end_are_normalised(features: str) -> None:
    rng = np.random.default_rng(0)
    clips = [rng.standard_normal(n).astype(np.float32) for n in (3000, 4001, 900)]
    inputs = AudioPreprocessing({"sample_rate_hz": 8000}, features).fit(clips)
    frames = np.concatenate([inputs.preprocess(tf.constant(clip)).numpy() for clip in clips])
    assert frames.shape[1:] == tuple(inputs.example_spec.shape[1:])
    assert inputs.spec().audio.mel_bands == frames.shape[1]
    np.testing.assert_allclose(frames.mean(axis=0), 0.0, atol=1e-3)
    np.testing.assert_allclose(frames.std(axis=0), 1.0, atol=1e-3)
    assert AudioPreprocessing(**inputs.get_config()).get_config() == inputs.get_config()


def test_a_band_that_never_varies_is_not_blown_up() -> None:
    silence = [np.zeros(4000, np.float32)]
    inputs = AudioPreprocessing({"sample_rate_hz": 8000}).fit(silence)
    assert not inputs.preprocess(tf.zeros(4000)).numpy().any()
    assert np.abs(inputs.preprocess(tf.ones(4000)).numpy()).max() < 200


@pytest.mark.parametrize(
    ("features", "options", "reason"),
    [
        ("cqt", {}, "no features 'cqt'; there are: log-mel, mfcc, spectrogram"),
        ("spectrogram", {"mel_bands": 40}, "mel_bands"),
        ("spectrogram", {"padding": "wrap"}, r"padding must be one of .*not 'wrap'"),
        ("spectrogram", {"power": 3}, "power must be one of"),
        ("spectrogram", {"scale": "bark"}, "scale must be one of"),
        ("spectrogram", {"window": "square"}, "window 'square' is none of SciPy's"),
        ("log-mel", {"window_length": 500, "n_fft": 256}, "window_length 500 is over n_fft 256"),
        ("log-mel", {"highest_hz": 5000}, r"don't fit below half the sample rate, 4000.0 Hz"),
        ("log-mel", {"mel_bands": 200}, "would be empty: use fewer mel_bands or a larger n_fft"),
        ("log-mel", {"mel_scale": "bark"}, "mel_scale must be one of"),
        ("log-mel", {"mel_norm": "peak"}, "mel_norm must be 'slaney' or None"),
        ("mfcc", {"coefficients": 41}, "41 coefficients are more than 40 mel bands"),
    ],
)
def test_settings_that_cannot_be_are_named(features: str, options: dict, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        AudioPreprocessing({"sample_rate_hz": 8000, **options}, features)
