"""What is decoded without Pillow is what Pillow would have given."""

import io

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from serving.runtime.decoding import decode_image
from serving.runtime.jpeg import BLOCK, decode_plain

MANY = 10**9


def written(image: Image.Image, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    return buffer.getvalue()


def pillows(data: bytes, need: int | None = None) -> np.ndarray:
    image = Image.open(io.BytesIO(data))
    if need is not None:
        image.draft(None, (need, need))
    return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def picture(height: int, width: int, seed: int = 0, mode: str = "RGB") -> Image.Image:
    """Of something between noise and areas."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).convert(mode)


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 90),
    st.integers(1, 90),
    st.sampled_from([5, 50, 90, 100]),
    st.sampled_from([0, 1, 2]),
    st.booleans(),
    st.sampled_from(["RGB", "L"]),
    st.none() | st.integers(1, 40),
)
@example(5, 5, 5, 0, False, "RGB", 1)  # a quarter and three eighths of it are 2 x 2
def test_pixels_are_pillows(height, width, quality, subsampling, progressive, mode, need) -> None:
    options = {} if mode == "L" else {"subsampling": subsampling}
    image = picture(height, width, mode=mode)
    data = written(image, quality=quality, progressive=progressive, **options)
    got = decode_plain(data, MANY, need)
    if got is None:
        assert need is not None
        assert min(height, width) <= BLOCK
        return
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, pillows(data, need))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=4), st.floats(0.2, 1))
def test_damage_is_pillows_matter(changes, share) -> None:
    damaged = bytearray(written(picture(40, 50)))
    for place, value in changes:
        damaged[int(place * len(damaged))] = value
    data = bytes(damaged[: int(share * len(damaged))])
    got = decode_plain(data, MANY, None)
    if got is not None:
        np.testing.assert_array_equal(got, pillows(data))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_that_may_have_to_be_turned(orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    data = written(picture(20, 30), exif=exif)
    assert decode_plain(data, MANY, None) is None
    np.testing.assert_array_equal(decode_image(data), pillows(data))


def test_adobes_way_of_turning_it() -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="6"/></x:xmpmeta>'
    data = written(picture(20, 30), xmp=xmp)
    assert decode_image(data).shape == (30, 20, 3)


def test_colours_that_only_pillow_knows() -> None:
    assert decode_plain(written(picture(20, 30, mode="CMYK")), MANY, None) is None
    assert decode_plain(written(picture(20, 30), keep_rgb=True), MANY, None) is None


def test_too_many_pixels_and_other_formats() -> None:
    data = written(picture(20, 30))
    assert decode_plain(data, 600, None) is not None
    assert decode_plain(data, 599, None) is None
    assert decode_plain(b"GIF89a", MANY, None) is None
