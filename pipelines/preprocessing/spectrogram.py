"""Waveform -> spectrogram, as librosa computes it, in graph ops; what log-mel and MFCC build on."""

from typing import Any, Literal

import librosa
import numpy as np
import tensorflow as tf

AMIN = 1e-10  # of power, as librosa.power_to_db's: silence is -100 dB
SCALES = ("decibel", "log", "linear")
PADDINGS = ("constant", "reflect", "edge")

Scale = Literal["decibel", "log", "linear"]
Padding = Literal["constant", "reflect", "edge"]


class Spectrogram(tf.Module):
    """Spectrogram with linear frequencies.  float32 [N] -> float32 [T, n_fft / 2 + 1]

    abs(librosa.stft(...)) ** power, in decibels by power_to_db or amplitude_to_db with ref=1.0 and
    top_db=None, transposed; T = 1 + N // hop_length. `top_db` is None as it would hang each value
    on the clip's maximum.

    tf.signal.stft is not used: with win_length < n_fft it places frames elsewhere than librosa.

    Args:    window_length, hop_length: samples, by default 25 and 10 ms; the window covers at most
             n_fft, by default the next power of two; window: a name that SciPy knows, periodic;
             centre: frame t is around sample t * hop_length, the clip padded by `padding` ("edge"
             repeats a border's sample); else frames start there, and none reaches beyond the end;
             power: 2, or 1 for magnitudes; scale: "decibel", "log" for the natural logarithm, or
             "linear".
    Raises:  ValueError for settings that don't fit together.
    Source:  McFee 2015, doi 10.25080/Majora-7b98e3ed-003 (librosa).
    Differs: a clip shorter than n_fft is padded with zeros where it isn't centred, to one frame.
    """

    def __init__(
        self,
        sample_rate_hz: int,
        n_fft: int | None = None,
        window_length: int | None = None,
        hop_length: int | None = None,
        window: str = "hann",
        centre: bool = True,
        padding: Padding = "constant",
        power: float = 2.0,
        scale: Scale = "decibel",
    ):
        super().__init__()
        self.sample_rate_hz = sample_rate_hz
        self.window_length = window_length or round(0.025 * sample_rate_hz)
        self.hop_length = hop_length or round(0.010 * sample_rate_hz)
        self.n_fft = n_fft or 2 ** int(np.ceil(np.log2(self.window_length)))
        self.window = window
        self.centre = centre
        self.padding = padding
        self.power = float(power)
        self.scale = scale
        if self.window_length > self.n_fft:
            raise ValueError(f"window_length {self.window_length} is over n_fft {self.n_fft}")
        for name, value, known in (
            ("padding", padding, PADDINGS),
            ("power", self.power, (1.0, 2.0)),
            ("scale", scale, SCALES),
        ):
            if value not in known:
                raise ValueError(f"{name} must be one of {known}, not {value!r}")
        try:
            weights = librosa.filters.get_window(window, self.window_length, fftbins=True)
        except (ValueError, librosa.util.exceptions.ParameterError) as error:
            raise ValueError(f"window {window!r} is none of SciPy's: {error}") from error
        self.weights = tf.constant(librosa.util.pad_center(weights, size=self.n_fft), tf.float32)

    @property
    def bands(self) -> int:
        return self.n_fft // 2 + 1

    def __call__(self, waveform: tf.Tensor) -> tf.Tensor:
        return self.scaled(self.linear(waveform))

    def linear(self, waveform: tf.Tensor) -> tf.Tensor:
        """Power or magnitude, not yet scaled."""
        frames = tf.signal.frame(self._padded(waveform), self.n_fft, self.hop_length)
        # An odd n_fft loses librosa's last sample to the two halves; the frame count is the same.
        spectrum = tf.signal.rfft(frames * self.weights, [self.n_fft])
        power = tf.square(tf.math.real(spectrum)) + tf.square(tf.math.imag(spectrum))
        return power if self.power == 2.0 else tf.sqrt(power)

    def scaled(self, x: tf.Tensor) -> tf.Tensor:
        """What `scale` makes of powers or magnitudes, or of sums of them."""
        if self.scale == "linear":
            return x
        logarithm = tf.math.log(tf.maximum(x, AMIN if self.power == 2.0 else AMIN**0.5))
        decibels = 20.0 / self.power / np.log(10.0).astype(np.float32)
        return logarithm * decibels if self.scale == "decibel" else logarithm

    def _padded(self, waveform: tf.Tensor) -> tf.Tensor:
        length, half = tf.shape(waveform)[0], self.n_fft // 2
        if not self.centre:
            return tf.pad(waveform, [[0, tf.maximum(self.n_fft - length, 0)]])
        if self.padding == "constant":
            return tf.pad(waveform, [[half, half]])
        places = tf.range(-half, length + half)
        if self.padding == "reflect":  # and again at the other end, where the clip is so short
            places = tf.math.floormod(places, tf.maximum(2 * (length - 1), 1))
            places = tf.minimum(places, 2 * (length - 1) - places)
        return tf.gather(waveform, tf.clip_by_value(places, 0, length - 1))

    def get_config(self) -> dict[str, Any]:
        return {
            "sample_rate_hz": self.sample_rate_hz,
            "n_fft": self.n_fft,
            "window_length": self.window_length,
            "hop_length": self.hop_length,
            "window": self.window,
            "centre": self.centre,
            "padding": self.padding,
            "power": self.power,
            "scale": self.scale,
        }
