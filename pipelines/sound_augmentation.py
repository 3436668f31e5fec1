"""What training does to a clip before each epoch: to its waveform, then to its spectrogram.

All of it is NumPy and of one seeded generator: nothing of it can be in an exported graph.
"""

from dataclasses import dataclass

import numpy as np
import scipy.fft
import soxr


@dataclass(frozen=True)
class SoundAugmentation:
    """How much of each; as it is, masks and levels alone, which cost no front end an epoch.

    Args:    speed: up to this share faster or slower, 0.1 for 0.9 to 1.1 times; pitch goes with it
             (Ko 2015, doi 10.21437/Interspeech.2015-711);
             shift_seconds: up to this much earlier or later;
             snr_db: noise of a colour between white and brown, with a signal-to-noise ratio
             between these two;
             level: deviation of a number that is added to all of a spectrogram, whose bands have a
             deviation of 1;
             frequency_masks, time_masks: how many stripes are set to the mean, 0, at most as wide
             as frequency_width, time_width; None: a sixth of the bands, of the frames
             (Park 2019, section 2, arXiv 1904.08779, SpecAugment).
    Raises:  ValueError for amounts that can't be.
    Differs: from SpecAugment in that time isn't warped.
    """

    speed: float = 0.0
    shift_seconds: float = 0.0
    snr_db: tuple[float, float] | None = None
    level: float = 0.2
    frequency_masks: int = 1
    frequency_width: int | None = None
    time_masks: int = 1
    time_width: int | None = None

    def __post_init__(self):
        if not 0 <= self.speed < 1:
            raise ValueError(f"speed must be a share from 0 to below 1, not {self.speed}")
        amounts = ("shift_seconds", "level", "frequency_masks", "time_masks")
        for name in (*amounts, "frequency_width", "time_width"):
            if (getattr(self, name) or 0) < 0:
                raise ValueError(f"{name} must not be negative, as {getattr(self, name)} is")
        snr = self.snr_db
        ordered = isinstance(snr, list | tuple) and len(snr) == 2 and snr[0] <= snr[1]
        if snr is not None and not ordered:
            raise ValueError(f"snr_db must be [LOWEST, HIGHEST], not {snr}")

    @property
    def changes_waveforms(self) -> bool:
        return bool(self.speed or self.shift_seconds or self.snr_db is not None)

    def waveform(
        self, waveform: np.ndarray, sample_rate_hz: int, rng: np.random.Generator
    ) -> np.ndarray:
        """float32 [N] -> float32 [N'], of another length if the speed is another"""
        if self.speed:
            waveform = at_speed(waveform, 1 + rng.uniform(-self.speed, self.speed))
        if self.shift_seconds:
            most = round(self.shift_seconds * sample_rate_hz)
            waveform = shifted(waveform, int(rng.integers(-most, most + 1)))
        if self.snr_db is not None:
            noise = coloured_noise(len(waveform), rng)
            waveform = with_noise(waveform, noise, rng.uniform(*self.snr_db))
        return waveform

    def spectrogram(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """float32 [T, F] -> the same"""
        frames = frames + np.float32(rng.normal(0.0, self.level))
        time, bands = frames.shape
        widest = min(bands, bands // 6 if self.frequency_width is None else self.frequency_width)
        longest = min(time, time // 6 if self.time_width is None else self.time_width)
        widths = rng.integers(widest + 1, size=self.frequency_masks)
        lengths = rng.integers(longest + 1, size=self.time_masks)
        for width, start in zip(widths, rng.integers(bands - widths + 1), strict=True):
            frames[:, start : start + width] = 0.0
        for length, first in zip(lengths, rng.integers(time - lengths + 1), strict=True):
            frames[first : first + length] = 0.0
        return frames


def at_speed(waveform: np.ndarray, factor: float) -> np.ndarray:
    """float32 [N] -> float32 [N / factor], `factor` times as fast and as high"""
    faster = soxr.resample(waveform, factor, 1.0, quality="HQ")
    return faster if len(faster) else waveform


def shifted(waveform: np.ndarray, samples: int) -> np.ndarray:
    """Later, or earlier if negative, with silence where nothing is any more.  [N] -> [N]"""
    moved = np.zeros_like(waveform)
    kept = max(0, len(waveform) - abs(samples))
    if samples >= 0:
        moved[len(waveform) - kept :] = waveform[:kept]
    else:
        moved[:kept] = waveform[len(waveform) - kept :]
    return moved


def coloured_noise(length: int, rng: np.random.Generator) -> np.ndarray:
    """Noise whose power falls with frequency to the power of 0 (white) to 2 (brown).  -> [N]

    Drawn as a spectrum, and a little longer where N has large prime factors: a transform of just
    N samples takes ten times as long then.
    """
    longer = scipy.fft.next_fast_len(length, real=True)
    bins = rng.standard_normal((longer // 2 + 1, 2), np.float32).view(np.complex64)[:, 0]
    frequencies = np.maximum(np.arange(len(bins), dtype=np.float32), 1)
    return scipy.fft.irfft(bins / frequencies ** np.float32(rng.uniform(0.0, 1.0)), longer)[:length]


def with_noise(waveform: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    """Signal plus noise, the powers of which have this ratio.  [N], [N] -> float32 [N]"""
    signal, disturbance = np.mean(np.square(waveform)), np.mean(np.square(noise))
    if not signal or not disturbance:
        return waveform
    gain = np.float32(np.sqrt(signal / disturbance / 10 ** (snr_db / 10)))
    return (waveform + gain * noise).astype(np.float32)
