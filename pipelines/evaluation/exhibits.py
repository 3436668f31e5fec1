"""An input as a report shows it: a picture, a spectrogram to see and to hear, or a text."""

import base64
import io
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
import soundfile
from PIL import Image
from scipy import signal

from protos.triptych.v1 import manifest_pb2
from serving.errors import InvalidInput
from serving.runtime.decoding import decode_audio, decode_image

PICTURE_PIXELS = 224  # of the longer side; a smaller picture is shown enlarged, pixel by pixel
ENLARGED_BELOW = 96
LOSSLESS_PIXELS = 128
SPECTROGRAM_PIXELS = (320, 128)
QUIETEST_DB = -70.0  # below the loudest
HEARD_SECONDS = 10.0
TEXT_CHARACTERS = 600


class Exhibit(NamedTuple):
    """`text`, or `picture` (a data: address) with what it shows, and the sound where it is one."""

    text: str = ""
    picture: str = ""
    alt: str = ""
    enlarged: bool = False
    sound: str = ""


def exhibit(source: Path | str, spec: manifest_pb2.InputSpec) -> Exhibit:
    """What cannot be read any more is told in place of the picture."""
    if isinstance(source, str):
        return Exhibit(text=shortened(source, TEXT_CHARACTERS))
    try:
        data = source.read_bytes()
        if spec.WhichOneof("kind") == "audio":
            rate = spec.audio.sample_rate_hz
            return _sound(decode_audio(data, rate), rate)
        return _picture(decode_image(data))
    except (OSError, InvalidInput) as error:
        return Exhibit(text=f"cannot be shown: {error}")


def shortened(text: str, characters: int) -> str:
    if len(text) <= characters:
        return text
    return f"{text[: characters - 1]}… ({len(text):,} characters)"


def _picture(pixels: np.ndarray) -> Exhibit:
    height, width = pixels.shape[:2]
    image = Image.fromarray(pixels)
    image.thumbnail((PICTURE_PIXELS, PICTURE_PIXELS))
    lossless = max(image.size) <= LOSSLESS_PIXELS
    return Exhibit(
        picture=_address(image, "png" if lossless else "jpeg"),
        alt=f"the picture, {width} x {height} pixels",
        enlarged=max(width, height) < ENLARGED_BELOW,
    )


def _sound(waveform: np.ndarray, rate: int) -> Exhibit:
    heard = io.BytesIO()
    soundfile.write(heard, waveform[: int(HEARD_SECONDS * rate)], rate, format="FLAC")
    return Exhibit(
        picture=_address(Image.fromarray(spectrogram(waveform, rate)), "png"),
        alt=f"spectrogram of {len(waveform) / rate:.2f} s, 0 to {rate / 2000:g} kHz from below",
        sound=_data("audio/flac", heard.getvalue()),
    )


def spectrogram(waveform: np.ndarray, rate: int) -> np.ndarray:
    """Power in decibels as colours, high frequencies above.  float32 [N] -> uint8 [H, W, 3]"""
    window = min(max(16, round(0.025 * rate)), len(waveform))
    _, _, power = signal.spectrogram(
        waveform, rate, "hann", nperseg=window, noverlap=window * 3 // 4, nfft=max(512, window)
    )
    decibels = 10 * np.log10(np.maximum(power, 1e-12))
    share = np.clip(1 - (decibels - decibels.max()) / QUIETEST_DB, 0, 1)[::-1]
    colours = matplotlib.colormaps["magma"](share, bytes=True)[..., :3]
    image = Image.fromarray(np.ascontiguousarray(colours))
    return np.asarray(image.resize(SPECTROGRAM_PIXELS, Image.Resampling.BILINEAR))


def _address(image: Image.Image, kind: str) -> str:
    file = io.BytesIO()
    image.save(file, kind, quality=85)
    return _data(f"image/{kind}", file.getvalue())


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
