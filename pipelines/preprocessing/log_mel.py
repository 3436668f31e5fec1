"""Waveform -> log-mel spectrogram, as librosa computes it, in graph ops."""

import warnings
from typing import Any, Literal

import librosa
import numpy as np
import tensorflow as tf

from pipelines.preprocessing.spectrogram import Spectrogram

MEL_SCALES = ("slaney", "htk")


class LogMel(tf.Module):
    """Log-mel spectrogram.  float32 [N] -> float32 [T, F]

    librosa.power_to_db(librosa.feature.melspectrogram(...), ref=1.0, top_db=None), transposed:
    librosa's own mel matrix is a constant of the graph.

    Args:    mel_scale: "slaney", linear below 1 kHz, or "htk"; mel_norm: "slaney" gives each
             triangle the same area, None the same height; others: of `Spectrogram`.
    Raises:  ValueError for settings that don't fit together, such as a mel band so narrow that no
             frequency falls into it.
    Source:  McFee 2015, doi 10.25080/Majora-7b98e3ed-003 (librosa).
    """

    def __init__(
        self,
        sample_rate_hz: int,
        mel_bands: int = 40,
        lowest_hz: float = 20.0,
        highest_hz: float | None = None,
        mel_scale: Literal["slaney", "htk"] = "slaney",
        mel_norm: Literal["slaney"] | None = "slaney",
        **spectrogram: Any,
    ):
        super().__init__()
        self.spectrogram = Spectrogram(sample_rate_hz, **spectrogram)
        self.mel_bands = mel_bands
        self.lowest_hz = lowest_hz
        self.highest_hz = highest_hz or sample_rate_hz / 2
        self.mel_scale = mel_scale
        self.mel_norm = mel_norm
        if mel_scale not in MEL_SCALES:
            raise ValueError(f"mel_scale must be one of {MEL_SCALES}, not {mel_scale!r}")
        if mel_norm not in ("slaney", None):
            raise ValueError(f"mel_norm must be 'slaney' or None, not {mel_norm!r}")
        if not 0 <= self.lowest_hz < self.highest_hz <= sample_rate_hz / 2:
            raise ValueError(
                f"mel bands from {self.lowest_hz} to {self.highest_hz} Hz don't fit below half the"
                f" sample rate, {sample_rate_hz / 2} Hz"
            )
        with warnings.catch_warnings(action="ignore"):  # of empty bands: see below
            mel = librosa.filters.mel(
                sr=sample_rate_hz,
                n_fft=self.spectrogram.n_fft,
                n_mels=mel_bands,
                fmin=self.lowest_hz,
                fmax=self.highest_hz,
                htk=mel_scale == "htk",
                norm=mel_norm,
            )
        if not mel.max(axis=1).all():
            raise ValueError(
                f"{np.sum(mel.max(axis=1) == 0)} of {mel_bands} mel bands lie between the"
                f" frequencies of n_fft {self.spectrogram.n_fft} and would be empty: use fewer"
                " mel_bands or a larger n_fft"
            )
        self.mel = tf.constant(mel.T, tf.float32)  # [n_fft / 2 + 1, F]

    @property
    def sample_rate_hz(self) -> int:
        return self.spectrogram.sample_rate_hz

    @property
    def bands(self) -> int:
        return self.mel_bands

    def __call__(self, waveform: tf.Tensor) -> tf.Tensor:
        return self.spectrogram.scaled(tf.matmul(self.spectrogram.linear(waveform), self.mel))

    def get_config(self) -> dict[str, Any]:
        return {
            **self.spectrogram.get_config(),
            "mel_bands": self.mel_bands,
            "lowest_hz": self.lowest_hz,
            "highest_hz": self.highest_hz,
            "mel_scale": self.mel_scale,
            "mel_norm": self.mel_norm,
        }
