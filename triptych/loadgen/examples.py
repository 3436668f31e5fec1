"""Inputs to send where none are given: tensors by shape and type, files by a model's manifest."""

import io
import wave

import numpy as np
import numpy.typing as npt
from PIL import Image

from protos.triptych.v1 import manifest_pb2

SENTENCE = "Who was the first person to sail around the world alone ?"
TONE_HZ = 440
JPEG_QUALITY = 90
COARSE = 8  # a picture has one eighth of its size in coarse patches, as photos are no noise


def tensor(shape: tuple[int, ...], dtype: np.dtype, seed: int = 0) -> npt.NDArray:
    """In [0, 1), whole numbers 0 or 1: no index that is out of anything's range."""
    rng = np.random.default_rng(seed)
    if dtype.kind == "f":
        return rng.random(shape, np.float32).astype(dtype)
    return rng.integers(0, 2, shape).astype(dtype)


def made_up(spec: manifest_pb2.InputSpec, seed: int = 0) -> bytes | str:
    """A picture of the model's size, a second of sound, or a sentence."""
    match spec.WhichOneof("kind"):
        case "image":
            return jpeg(spec.image.height, spec.image.width, seed)
        case "audio":
            return wav(spec.audio.sample_rate_hz, seed)
        case _:
            return SENTENCE


def jpeg(height: int, width: int, seed: int = 0) -> bytes:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (-(-height // COARSE), -(-width // COARSE), 3), np.uint8)
    picture = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=JPEG_QUALITY)
    return file.getvalue()


def wav(sample_rate_hz: int, seed: int = 0) -> bytes:
    """A second of a tone."""
    time_s = np.arange(sample_rate_hz) / sample_rate_hz
    samples = np.sin(2 * np.pi * TONE_HZ * (1 + seed % 8) * time_s) * 2**13
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(sample_rate_hz)
        sound.writeframes(samples.astype("<i2").tobytes())
    return file.getvalue()
