"""Image preprocessing against Pillow and NumPy."""

import io

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipelines.preprocessing.image import ImagePreprocessing

RNG = np.random.default_rng(0)


def photo(height: int, width: int) -> np.ndarray:
    """Noise over a gradient: the hardest case for a resize without antialiasing."""
    ramp = np.linspace(0, 200, width)[None, :, None] + np.zeros((height, 1, 3))
    return np.clip(ramp + RNG.normal(0, 60, (height, width, 3)), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("height", "width"), [(512, 512), (301, 477), (100, 70), (20, 90)])
def test_resizing_is_within_one_grey_level_of_pillow(height: int, width: int) -> None:
    image = photo(height, width)
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = Image.fromarray(image[top : top + side, left : left + side])
    wanted = np.asarray(square.resize((64, 64), Image.Resampling.BILINEAR), float)
    got = ImagePreprocessing(64, 64).fit_to_size(tf.constant(image)).numpy()
    assert np.abs(got - wanted).max() <= 1.0


def test_a_picture_of_the_networks_size_is_only_normalised() -> None:
    image = photo(32, 32)
    inputs = ImagePreprocessing(32, 32, mean=(0.1, 0.2, 0.3), standard_deviation=(0.5, 0.6, 0.7))
    wanted = (image / 255.0 - [0.1, 0.2, 0.3]) / [0.5, 0.6, 0.7]
    np.testing.assert_allclose(inputs.preprocess(tf.constant(image)), wanted, atol=1e-5)


def test_blue_may_leave_first() -> None:
    image, mean = photo(32, 32), (0.1, 0.2, 0.3)
    inputs = ImagePreprocessing(32, 32, 3, mean, (0.5, 0.6, 0.7), channel_order="bgr")
    wanted = (image[..., ::-1] / 255.0 - mean) / [0.5, 0.6, 0.7]
    np.testing.assert_allclose(inputs.preprocess(tf.constant(image)), wanted, atol=1e-5)
    means = image[..., ::-1].mean(axis=(0, 1)) / 255
    np.testing.assert_allclose(inputs.fit([image]).mean, means, atol=1e-3)
    assert inputs.fit([image]).channel_order == "bgr"
    with pytest.raises(ValueError, match="'rgb' or 'bgr', not 'gbr'"):
        ImagePreprocessing(32, 32, channel_order="gbr")


def test_a_config_of_before_channel_order_is_red_first() -> None:
    config = ImagePreprocessing(24, 40, channels=1).get_config()
    del config["channel_order"]
    assert ImagePreprocessing(**config).channel_order == "rgb"


def test_grey_is_pillows_luma() -> None:
    image = photo(28, 28)
    grey = ImagePreprocessing(28, 28, channels=1).fit_to_size(tf.constant(image)).numpy()[..., 0]
    assert np.abs(grey - np.asarray(Image.fromarray(image).convert("L"), float)).max() <= 1.0


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300))
def test_any_size_gives_the_networks_size(height: int, width: int) -> None:
    image = np.full((height, width, 3), 77, np.uint8)
    got = ImagePreprocessing(24, 40).fit_to_size(tf.constant(image)).numpy()
    assert got.shape == (24, 40, 3)
    np.testing.assert_allclose(got, 77, atol=1e-3)


@pytest.mark.parametrize("shape", [(1_000_000, 1, 3), (1, 1_000_000, 3)])
def test_a_long_thin_picture_takes_no_more_memory_than_others(shape) -> None:
    inputs = ImagePreprocessing(224, 224)
    got = inputs.fit_to_size(tf.constant(np.full(shape, 9, np.uint8))).numpy()
    np.testing.assert_allclose(got, 9, atol=1e-3)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "BMP", "WEBP"])
def test_decoding_in_the_graph_is_pillows(form: str) -> None:
    buffer = io.BytesIO()
    Image.fromarray(photo(40, 50)).save(buffer, form)
    pillow = np.asarray(Image.open(io.BytesIO(buffer.getvalue())).convert("RGB"), int)
    got = ImagePreprocessing(8, 8).decode(tf.constant(buffer.getvalue())).numpy().astype(int)
    assert np.abs(got - pillow).max() <= (1 if form == "WEBP" else 0)


def test_fit_measures_the_channels() -> None:
    images = [photo(32, 32) for _ in range(5)]
    inputs = ImagePreprocessing(32, 32).fit(images)
    pixels = np.concatenate([i.reshape(-1, 3) for i in images]) / 255.0
    np.testing.assert_allclose(inputs.mean, pixels.mean(axis=0), atol=1e-3)
    np.testing.assert_allclose(inputs.standard_deviation, pixels.std(axis=0), atol=1e-3)
    assert ImagePreprocessing(**inputs.get_config()).get_config() == inputs.get_config()
