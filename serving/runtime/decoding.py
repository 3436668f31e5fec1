"""Bytes -> picture, waveform or string, by well-kept libraries, within limits.

Training, batch jobs and the server all read their inputs here, so that none of them sees
another picture than the others. Resizing, spectrograms and tokens come later, in the artefact's
`preprocess`.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile
import soxr
from PIL import Image, ImageOps, UnidentifiedImageError

from protos.triptych.v1 import manifest_pb2
from serving.errors import InvalidInput
from serving.runtime.jpeg import decode_plain

# Decoders that are not listed here are never run on what a client sent.
IMAGE_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF")
IMAGES = "JPEG, PNG, GIF, BMP, WebP or TIFF"
SOUNDS = "WAV, FLAC, OGG, MP3 or AIFF"
SIGNATURES = (  # the first bytes of files that people send by mistake
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG", "PNG"),
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"%PDF", "PDF"),
    (b"PK\x03\x04", "ZIP"),
    (b"<svg", "SVG"),
    (b"fLaC", "FLAC"),
    (b"OggS", "OGG"),
    (b"ID3", "MP3"),
)
# Our own limit is checked first, and a client's odd metadata is no news to an operator.
Image.MAX_IMAGE_PIXELS = None
warnings.filterwarnings("ignore", module=r"PIL\.")

SAMPLE_RATES_HZ = (1_000, 768_000)
MAX_CHANNELS = 32
REDUCTION_MARGIN = 2  # a reduced JPEG keeps twice what is needed, for the resize to average


@dataclass(frozen=True)
class Limits:
    """What one input may be at most. Checked on what a file declares, before it is decoded."""

    max_input_bytes: int = 32 * 2**20
    max_pixels: int = 50_000_000
    max_audio_seconds: float = 60.0
    max_characters: int = 100_000


DEFAULT_LIMITS = Limits()


def decode(
    item: bytes | str, spec: manifest_pb2.InputSpec, limits: Limits = DEFAULT_LIMITS
) -> npt.NDArray[Any] | str:
    """What the `preprocess` endpoint of a model with this `spec` takes.

    Returns: image: uint8 [H, W, 3]; audio: float32 [N] at the model's rate; text: a string.
    Raises:  InvalidInput, with the reason and what would be right.
    """
    kind = spec.WhichOneof("kind")
    if kind == "text":
        return decode_text(item, limits)
    if isinstance(item, str):
        wanted = IMAGES if kind == "image" else SOUNDS
        raise InvalidInput(
            f"this model takes {kind}, and a text was sent: send the bytes of a file ({wanted})"
        )
    if kind == "audio":
        return decode_audio(item, spec.audio.sample_rate_hz, limits)
    # Preprocessing fits the shorter side, so neither side may be smaller than the larger target.
    side = max(spec.image.height, spec.image.width)
    return decode_image(item, limits, at_least=(side, side))


def decode_image(
    data: bytes, limits: Limits = DEFAULT_LIMITS, at_least: tuple[int, int] | None = None
) -> npt.NDArray[np.uint8]:
    """uint8 [H, W, 3], upright, transparency on white, 16-bit levels scaled, first frame.

    Args:    at_least: height and width that are needed; a JPEG of more than twice both may be
             decoded at a half, a quarter or an eighth of its size, never below twice.
    Raises:  InvalidInput if it is no picture of a known format, is cut off, or is too large.
    """
    _check_size(data, limits, IMAGES)
    need = None if at_least is None else max(at_least) * REDUCTION_MARGIN
    plain = decode_plain(data, limits.max_pixels, need)
    if plain is not None:
        return plain
    try:
        image: Image.Image = Image.open(io.BytesIO(data), formats=IMAGE_FORMATS)
        _check_pixels(image, limits)
        if need is not None and image.format == "JPEG":
            image.draft(None, (need, need))
        image.load()
        return _to_rgb(ImageOps.exif_transpose(image))
    except InvalidInput:
        raise
    except UnidentifiedImageError as error:
        raise InvalidInput(
            f"not a picture that can be read ({_looks_like(data)}): send {IMAGES}"
        ) from error
    except Exception as error:
        # Pillow's decoders raise what they like on damaged files: OSError, SyntaxError,
        # struct.error, ValueError, and so on. A client's file is never our fault.
        raise InvalidInput(
            f"a damaged or incomplete picture ({_looks_like(data)}, {len(data):,} bytes): {error}"
        ) from error


def _check_pixels(image: Image.Image, limits: Limits) -> None:
    if image.width * image.height > limits.max_pixels:
        raise InvalidInput(
            f"the picture has too many pixels: {image.width:,} x {image.height:,}, and"
            f" {limits.max_pixels:,} are allowed: send a smaller one, or raise TRIPTYCH_MAX_PIXELS"
        )


def _to_rgb(image: Image.Image) -> npt.NDArray[np.uint8]:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _scale_to_8_bits(image)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return np.array(image.convert("RGB"))


def _scale_to_8_bits(image: Image.Image) -> npt.NDArray[np.uint8]:
    """The high byte of 16 bits, where Pillow's own conversion clips to 255."""
    levels = np.asarray(image).astype(np.float64)
    if not np.isfinite(levels).all():
        raise InvalidInput("the picture holds values that are not numbers: save it as 8-bit PNG")
    if image.mode == "F" and levels.max(initial=0.0) <= 1.0:
        levels = levels * 255.0
    elif levels.max(initial=0.0) > 255.0 or image.mode != "F":
        levels = levels / 256.0
    grey = np.clip(levels, 0, 255).astype(np.uint8)
    return np.repeat(grey[:, :, np.newaxis], 3, axis=2)


def decode_audio(
    data: bytes, sample_rate_hz: int, limits: Limits = DEFAULT_LIMITS
) -> npt.NDArray[np.float32]:
    """float32 [N] in [-1, 1] at `sample_rate_hz`, the mean of all channels.

    Resampled by soxr at its high quality, which lets nothing through above half the rate.

    Raises:  InvalidInput if it is no sound of a known format, is empty, or is too long.
    """
    with opened_sound(data, limits) as file:
        rate = file.samplerate
        # Headers lie, and streams don't know their length: one frame over tells.
        most = int(limits.max_audio_seconds * rate)
        if 0 <= file.frames < 2**62 and file.frames > most:
            raise _too_long(file.frames / rate, limits)
        samples = file.read(most + 1, dtype="float32", always_2d=True)
    if len(samples) > most:
        raise _too_long(len(samples) / rate, limits)
    if not len(samples):
        raise InvalidInput("the sound is empty: it has no samples; record it again")
    waveform = mean_of_channels(samples)
    if rate != sample_rate_hz:
        waveform = soxr.resample(waveform, rate, sample_rate_hz, quality="HQ")
        if not len(waveform):
            raise InvalidInput(f"the sound is too short: {len(samples)} samples at {rate:,} Hz")
    return np.ascontiguousarray(waveform, np.float32)


@contextmanager
def opened_sound(data: bytes, limits: Limits = DEFAULT_LIMITS) -> Iterator[soundfile.SoundFile]:
    """To be read at once, or block by block where a recording is long.

    Raises: InvalidInput if it is no sound of a known format, be it while it is read.
    """
    _check_size(data, limits, SOUNDS)
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            rate, channels = file.samplerate, file.channels
            lowest, highest = SAMPLE_RATES_HZ
            if not lowest <= rate <= highest or not 1 <= channels <= MAX_CHANNELS:
                raise InvalidInput(
                    f"the sound says {rate:,} Hz and {channels} channels: {lowest:,} to"
                    f" {highest:,} Hz and 1 to {MAX_CHANNELS} channels are allowed"
                )
            yield file
    except soundfile.LibsndfileError as error:
        raise InvalidInput(
            f"not a sound that can be read ({_looks_like(data)}): send {SOUNDS}"
        ) from error
    except (TypeError, RuntimeError, ValueError) as error:  # RAW files and odd headers
        raise InvalidInput(f"a damaged sound ({_looks_like(data)}): {error}") from error


def mean_of_channels(samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """[N, channels] -> [N]. Raises: InvalidInput if there are samples that are not numbers."""
    waveform: npt.NDArray[np.float32] = samples.mean(axis=1)
    if not np.isfinite(waveform).all():
        raise InvalidInput("the sound holds samples that are not numbers: save it as 16-bit WAV")
    return waveform


def _too_long(seconds: float, limits: Limits) -> InvalidInput:
    return InvalidInput(
        f"the sound lasts {seconds:.1f} s, and {limits.max_audio_seconds:g} s are allowed:"
        " cut it, or raise TRIPTYCH_MAX_AUDIO_SECONDS"
    )


def decode_text(data: bytes | str, limits: Limits = DEFAULT_LIMITS) -> str:
    """The text as it was written, but for a byte order mark; normalised later, in the graph.

    Raises:  InvalidInput if it is not UTF-8, is empty, or is too long.
    """
    if isinstance(data, bytes):
        _check_size(data, limits, "UTF-8 text")
        try:
            data = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InvalidInput(
                f"this model takes text, and byte {error.start:,} is not UTF-8"
                f" ({_looks_like(error.object)}): save the text as UTF-8"
            ) from error
    if len(data) > limits.max_characters:
        raise InvalidInput(
            f"the text has {len(data):,} characters, and {limits.max_characters:,} are allowed:"
            " cut it, or raise TRIPTYCH_MAX_CHARACTERS"
        )
    if "\0" in data or any("\ud800" <= c <= "\udfff" for c in data):
        raise InvalidInput("the text holds code points that no text has: save it as UTF-8")
    if not data.strip():
        raise InvalidInput("the text is empty: send at least one word")
    return data


def _check_size(data: bytes, limits: Limits, wanted: str) -> None:
    if not data:
        raise InvalidInput(f"the input is empty: send {wanted}")
    if len(data) > limits.max_input_bytes:
        raise too_large(len(data), limits)


def too_large(size_bytes: int, limits: Limits) -> InvalidInput:
    """For who knows an input's size without having it in memory."""
    return InvalidInput(
        f"the input has {size_bytes:,} bytes, and {limits.max_input_bytes:,} are allowed:"
        " send a smaller one, or raise TRIPTYCH_MAX_INPUT_BYTES"
    )


def _looks_like(data: bytes) -> str:
    if data[:4] == b"RIFF":
        return {b"WAVE": "WAV", b"WEBP": "WebP"}.get(data[8:12], "RIFF") + " by its first bytes"
    for signature, name in SIGNATURES:
        if data.startswith(signature):
            return f"{name} by its first bytes"
    return f"it begins with {bytes(data[:8])!r}"
