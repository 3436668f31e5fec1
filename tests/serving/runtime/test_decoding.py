"""Decoding against Pillow, NumPy sines, the wave module and librosa; and against damage."""

import io
import wave
import zlib
from concurrent.futures import ThreadPoolExecutor

import librosa
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from protos.triptych.v1 import manifest_pb2
from serving.errors import InvalidInput
from serving.runtime.decoding import Limits, decode, decode_audio, decode_image, decode_text

IMAGE = manifest_pb2.InputSpec(image=manifest_pb2.ImageInput(height=32, width=32, channels=3))
AUDIO = manifest_pb2.InputSpec(audio=manifest_pb2.AudioInput(sample_rate_hz=8000, mel_bands=40))
TEXT = manifest_pb2.InputSpec(text=manifest_pb2.TextInput(vocabulary_size=9, max_tokens=8))


def encoded(image: Image.Image, form: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def drawing(height: int = 20, width: int = 30) -> Image.Image:
    """Red above, blue below, a green corner at the upper left: every way up is another picture."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2] = (220, 30, 30)
    pixels[height // 2 :] = (30, 30, 220)
    pixels[:6, :6] = (30, 220, 30)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "WEBP"])
def test_lossless_formats(form: str) -> None:
    options = {"lossless": True} if form == "WEBP" else {}
    got = decode_image(encoded(drawing(), form, **options))
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, np.asarray(drawing()))


def test_jpeg_is_pillows() -> None:
    data = encoded(drawing(), "JPEG", quality=90)
    np.testing.assert_array_equal(decode_image(data), np.asarray(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation: int) -> None:
    # What each number asks for, undone (Exif 2.32, 4.6.4 A, tag 274).
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = drawing().transpose(undo[orientation]) if orientation > 1 else drawing()
    exif = Image.Exif()
    exif[274] = orientation
    got = decode_image(encoded(stored, "PNG", exif=exif))
    np.testing.assert_array_equal(got, np.asarray(drawing()))


def test_cmyk() -> None:
    cmyk = drawing().convert("CMYK")
    got = decode_image(encoded(cmyk, "JPEG", quality=100, subsampling=0)).astype(int)
    assert np.abs(got - np.asarray(drawing(), int)).mean() < 3


def test_transparency_is_white() -> None:
    rgba = drawing().convert("RGBA")
    rgba.putalpha(Image.fromarray(np.full((20, 30), 0, np.uint8)))
    assert (decode_image(encoded(rgba, "PNG")) == 255).all()
    rgba.putalpha(Image.fromarray(np.full((20, 30), 128, np.uint8)))
    alpha = 128 / 255
    wanted = np.asarray(drawing()) * alpha + 255 * (1 - alpha)
    assert np.abs(decode_image(encoded(rgba, "PNG")) - wanted).max() <= 1


def test_palette_with_a_transparent_colour() -> None:
    palette = drawing().quantize(4)
    index = palette.getpixel((0, 0))
    got = decode_image(encoded(palette, "PNG", transparency=index))
    assert (got[:6, :6] == 255).all()
    assert tuple(got[8, 20]) == (220, 30, 30)


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    levels = np.linspace(0, 65535, 600).astype(np.uint16).reshape(20, 30)
    got = decode_image(encoded(Image.fromarray(levels), "PNG"))
    np.testing.assert_array_equal(got[..., 0], levels >> 8)
    assert got.shape == (20, 30, 3)


def test_one_bit_and_grey() -> None:
    grey = drawing().convert("L")
    np.testing.assert_array_equal(decode_image(encoded(grey, "PNG"))[..., 1], np.asarray(grey))
    assert set(decode_image(encoded(grey.convert("1"), "PNG")).ravel()) <= {0, 255}


@pytest.mark.parametrize("form", ["GIF", "WEBP", "TIFF", "PNG"])
def test_the_first_frame_of_a_moving_picture(form: str) -> None:
    frames = [drawing(), Image.new("RGB", (30, 20), "black")]
    options = {"lossless": True} if form == "WEBP" else {}
    data = encoded(frames[0], form, save_all=True, append_images=frames[1:], **options)
    np.testing.assert_array_equal(decode_image(data), np.asarray(drawing()))


def test_a_large_jpeg_may_be_decoded_reduced_but_never_below_twice_what_is_needed() -> None:
    ramp = np.linspace(0, 255, 1600)[None, :, None] * np.ones((1200, 1, 3))
    data = encoded(Image.fromarray(ramp.astype(np.uint8)), "JPEG", quality=95)
    assert decode_image(data).shape == (1200, 1600, 3)
    reduced = decode_image(data, at_least=(224, 224))
    assert reduced.shape == (600, 800, 3)
    wanted = np.asarray(Image.open(io.BytesIO(data)).reduce(2), int)
    assert np.abs(reduced.astype(int) - wanted).max() <= 2
    assert decode(data, IMAGE).shape == (150, 200, 3)


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    row = zlib.compress(b"\0" * 100)

    def chunk(kind: bytes, body: bytes) -> bytes:
        crc = zlib.crc32(kind + body).to_bytes(4, "big")
        return len(body).to_bytes(4, "big") + kind + body + crc

    for side in (20_000, 2**31 - 1):
        header = side.to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
        png = (
            b"\x89PNG\r\n\x1a\n"
            + chunk(b"IHDR", header)
            + chunk(b"IDAT", row)
            + chunk(b"IEND", b"")
        )
        with pytest.raises(InvalidInput, match=r"too many pixels.*TRIPTYCH_MAX_PIXELS"):
            decode_image(png)


def samples(rate: int, seconds: float = 0.5, hz: float = 440.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hz * np.arange(int(rate * seconds)) / rate)


def sound(data: np.ndarray, rate: int, form: str = "WAV", subtype: str | None = None) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, data, rate, format=form, subtype=subtype)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("form", "subtype", "tolerance"),
    [
        ("WAV", "PCM_U8", 1e-2),
        ("WAV", "PCM_16", 1e-4),
        ("WAV", "PCM_24", 1e-6),
        ("WAV", "PCM_32", 1e-6),
        ("WAV", "FLOAT", 1e-6),
        ("WAV", "DOUBLE", 1e-6),
        ("WAV", "ULAW", 3e-2),
        ("WAV", "ALAW", 3e-2),
        ("WAVEX", "PCM_16", 1e-4),
        ("FLAC", "PCM_16", 1e-4),
        ("AIFF", "PCM_16", 1e-4),
        ("OGG", "VORBIS", 5e-2),
        ("MP3", "MPEG_LAYER_III", 5e-2),
    ],
)
def test_formats(form: str, subtype: str, tolerance: float) -> None:
    got = decode_audio(sound(samples(16000), 16000, form, subtype), 16000)
    assert got.dtype == np.float32
    assert len(got) == 8000
    assert np.abs(got - samples(16000))[200:-200].max() < tolerance


def test_the_wave_modules_16_bits() -> None:
    buffer = io.BytesIO()
    integers = np.array([-32768, -1, 0, 1, 32767], "<i2")
    with wave.open(buffer, "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(integers.tobytes())
    np.testing.assert_array_equal(decode_audio(buffer.getvalue(), 8000), integers / 32768)


def test_channels_are_averaged() -> None:
    stereo = np.stack([samples(8000), np.zeros(4000), samples(8000)], axis=1)
    got = decode_audio(sound(stereo, 8000, subtype="FLOAT"), 8000)
    np.testing.assert_allclose(got, samples(8000) * 2 / 3, atol=1e-6)


@pytest.mark.parametrize(("rate", "wanted"), [(16000, 8000), (44100, 8000), (8000, 16000)])
def test_resampling_is_librosas(rate: int, wanted: int) -> None:
    signal = samples(rate).astype(np.float32)
    got = decode_audio(sound(signal, rate, subtype="FLOAT"), wanted)
    reference = librosa.resample(signal, orig_sr=rate, target_sr=wanted, res_type="soxr_hq")
    assert abs(len(got) - len(reference)) <= 1
    n = min(len(got), len(reference))
    np.testing.assert_allclose(got[:n], reference[:n], atol=1e-5)


def test_nothing_above_half_the_rate_comes_through() -> None:
    got = decode_audio(sound(samples(16000, hz=6000.0), 16000), 8000)
    assert np.abs(got[200:-200]).max() < 1e-3


def test_a_long_sound_is_refused_by_its_header() -> None:
    data = sound(np.zeros(8000 * 61), 8000)
    with pytest.raises(InvalidInput, match=r"lasts 61.0 s.*TRIPTYCH_MAX_AUDIO_SECONDS"):
        decode_audio(data, 8000)
    assert len(decode_audio(data, 8000, Limits(max_audio_seconds=62))) == 8000 * 61


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_not_numbers(value: float) -> None:
    with pytest.raises(InvalidInput, match="not numbers"):
        decode_audio(sound(np.array([0.1, value, 0.2]), 8000, subtype="FLOAT"), 8000)


@pytest.mark.parametrize(
    ("item", "spec", "reason"),
    [
        (b"", IMAGE, "empty"),
        (b"", AUDIO, "empty"),
        (b"", TEXT, "empty"),
        (" \n", TEXT, "empty"),
        ("a text", IMAGE, "takes image, and a text was sent"),
        ("a text", AUDIO, "takes audio, and a text was sent"),
        (b"RIFF\0\0\0\0WAVEfmt ", IMAGE, "WAV by its first bytes.*JPEG"),
        (encoded(drawing(), "PNG"), AUDIO, "PNG by its first bytes.*FLAC"),
        (encoded(drawing(), "PNG")[:60], IMAGE, "damaged|not a picture"),
        (encoded(drawing(200, 300), "JPEG")[:900], IMAGE, "damaged"),
        (sound(np.zeros(0), 8000), AUDIO, "no samples"),
        (b"caf\xe9", TEXT, "byte 3 is not UTF-8"),
        ("a\0b", TEXT, "code points"),
        (b"x" * 11, TEXT, "11 bytes, and 10 are allowed"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n", IMAGE, "not a picture"),
    ],
)
def test_what_is_wrong_is_said(item, spec, reason: str) -> None:
    limits = Limits(max_input_bytes=10) if item == b"x" * 11 else Limits()
    with pytest.raises(InvalidInput, match=reason):
        decode(item, spec, limits)


def test_text_is_left_as_it_is() -> None:
    assert decode_text("\ufeffÉcole ".encode()) == "École "
    assert decode_text(" 卷积 ") == " 卷积 "
    with pytest.raises(InvalidInput, match="TRIPTYCH_MAX_CHARACTERS"):
        decode_text("ab", Limits(max_characters=1))


VALID = [
    encoded(drawing(), "PNG"),
    encoded(drawing(), "JPEG"),
    encoded(drawing(), "GIF"),
    encoded(drawing(), "TIFF"),
    encoded(drawing(), "WEBP"),
    encoded(drawing(), "BMP"),
    sound(samples(8000, 0.05), 8000),
    sound(samples(8000, 0.05), 8000, "FLAC"),
    sound(samples(8000, 0.05), 8000, "OGG"),
    sound(samples(8000, 0.05), 8000, "MP3"),
]


def decoded_or_refused(data: bytes, spec: manifest_pb2.InputSpec) -> bool:
    """Anything but InvalidInput is raised."""
    try:
        got = decode(data, spec)
    except InvalidInput as error:
        return bool(str(error))
    return len(got) > 0


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(VALID),
    st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=8),
    st.floats(0, 1),
    st.sampled_from([IMAGE, AUDIO, TEXT]),
)
def test_damage_is_an_invalid_input_or_nothing(data, changes, share, spec) -> None:
    damaged = bytearray(data)
    for place, value in changes:
        damaged[int(place * len(damaged))] = value
    assert decoded_or_refused(bytes(damaged[: max(1, int(share * len(damaged)))]), spec)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([IMAGE, AUDIO, TEXT]))
def test_random_bytes(data: bytes, spec) -> None:
    assert decoded_or_refused(data, spec)


def test_from_many_threads() -> None:
    with ThreadPoolExecutor(8) as threads:
        for i in range(6):
            kind = IMAGE if i < 6 else AUDIO
            alone = decode(VALID[i], kind)
            for got in threads.map(lambda data, kind=kind: decode(data, kind), [VALID[i]] * 20):
                np.testing.assert_array_equal(got, alone)
