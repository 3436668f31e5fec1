"""What a network heard as a spectrogram, over it what counts, and that part alone, to be heard."""

import io

import numpy as np
import numpy.typing as npt
import soundfile
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import signal

from pipelines.explain.explanation import Explanation
from pipelines.explain.network import Network
from pipelines.explain.pictures.colours import legend, png, scale, strength, title

LABELLED = 5  # of the bands
DARKEST, DENSEST = 0.75, 0.75  # of the sound, and of the map over it
OVERLAP = 4  # frames that a sample falls into


def draw(network: Network, example: npt.NDArray, explanation: Explanation) -> bytes:
    """PNG of some 700 x 480 pixels; time from left to right, low bands below."""
    figure = Figure(figsize=(7.0, 4.8), dpi=100, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, sharey=True)
    figure.suptitle(title(explanation), size=11)
    extent = (0, len(example) * network.inputs.frame_seconds, 0, example.shape[1])
    options = {"aspect": "auto", "extent": extent, "interpolation": "nearest"}
    above.imshow(spectrum(example), **options)
    above.set_title("what the network heard", size=9)
    below.imshow(overlay(example, explanation), **options)
    below.set_title("what speaks for it" + (" and against" if explanation.signed else ""), size=9)
    below.set_xlabel("seconds", size=9)
    for axes in (above, below):
        _name_bands(network, axes)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    legend(figure, explanation, (above, below), shrink=0.6)
    return png(figure)


def spectrum(example: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Dark where it is loud, as the network has it.  [T, F] -> [F, T, 3], low bands below"""
    low, high = np.percentile(example, (2, 99.8))
    grey = 1 - DARKEST * np.clip((example - low) / (high - low or 1), 0, 1)
    return _upright(np.repeat(grey[..., None], 3, axis=-1))


def overlay(example: npt.NDArray[np.float32], explanation: Explanation) -> npt.NDArray[np.uint8]:
    """The map over the sound, which stays visible.  [T, F] -> [F, T, 3]"""
    share = DENSEST * strength(explanation)[..., None]
    colours = _upright(scale(explanation).to_rgba(explanation.values)[..., :3])
    share = np.swapaxes(share, 0, 1)[::-1]
    mixed = (1 - share) * spectrum(example) + share * colours
    return mixed.round().astype(np.uint8)


def _upright(rgb: npt.NDArray) -> npt.NDArray[np.uint8]:
    return (np.swapaxes(rgb, 0, 1)[::-1] * 255).round().astype(np.uint8)


def _name_bands(network: Network, axes: Axes) -> None:
    frequencies = network.inputs.frequencies_hz
    if frequencies is None:
        axes.set_ylabel("band", size=9)
        return
    bands = np.linspace(0, len(frequencies) - 1, LABELLED).round().astype(int)
    axes.set_yticks(bands + 0.5, [f"{frequencies[band] / 1000:.1f}" for band in bands])
    axes.set_ylabel("kHz", size=9)


def kept_part(
    network: Network, waveform: npt.NDArray[np.float32], explanation: Explanation
) -> npt.NDArray[np.float32]:
    """The sound with each time and frequency as loud as it counts for the class.  [N] -> [N]

    Where bands are no frequencies (MFCC), each time alone.
    """
    inputs = network.inputs
    rate = inputs.spec.audio.sample_rate_hz
    hop = round(inputs.frame_seconds * rate)
    mask = np.where(explanation.values > 0, strength(explanation), 0.0)  # [T, F]
    size = OVERLAP * hop
    options = {"fs": rate, "nperseg": size, "noverlap": size - hop, "window": "hann"}
    bins, times, spectrum = signal.stft(waveform, **options)
    frequencies = inputs.frequencies_hz
    if frequencies is None:
        loudness = np.repeat(mask.mean(axis=1)[:, None], len(bins), axis=1)
    else:
        loudness = np.array([np.interp(bins, frequencies, row) for row in mask])
    frames = np.arange(len(mask)) * inputs.frame_seconds
    over_time = np.array([np.interp(times, frames, column) for column in loudness.T])
    _, kept = signal.istft(spectrum * over_time, **options)
    return kept[: len(waveform)].astype(np.float32)


def wav(waveform: npt.NDArray[np.float32], rate: int) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.clip(waveform, -1, 1), rate, format="WAV", subtype="PCM_16")
    return file.getvalue()
