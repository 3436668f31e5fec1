"""Maps and pictures of which the right one is known. How a server is asked: test_explain.py."""

import io

import matplotlib
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from serving.errors import InvalidInput
from serving.runtime import pictures
from serving.runtime.explanation import METHODS, explain, heat_map
from serving.runtime.servable import Servable

SHAPE = (12, 10, 3)  # of an example
BEST = -1


def outputs(**others: np.ndarray) -> dict[str, np.ndarray]:
    """Of an endpoint: maps of 4 x 3 and 5 channels."""
    rng = np.random.default_rng(1)
    features = np.maximum(rng.normal(size=(1, 4, 3, 5)), 0)
    gradients = rng.normal(size=(1, 4, 3, 5))
    made = {"features": features, "feature_gradients": gradients, **others}
    return {name: value.astype(np.float32) for name, value in made.items()}


def png(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def test_grad_cam_is_the_positive_part_of_cam() -> None:
    weights = np.random.default_rng(2).normal(size=(1, 5))
    of_average = np.broadcast_to(weights[:, None, None] / 12, (1, 4, 3, 5))
    given = outputs(feature_gradients=of_average, class_weights=weights)
    cam = heat_map("cam", given, SHAPE)
    assert cam.min() < 0
    np.testing.assert_allclose(
        heat_map("grad-cam", given, (4, 3, 3)),
        np.maximum(heat_map("cam", given, (4, 3, 3)), 0) / 12,
        rtol=1e-5,
    )


def test_grad_cam_plus_plus_as_its_paper_writes_it() -> None:
    """Equations 10, 11 and 19, with the exponential of the score: a factor of the whole map."""
    given = outputs()
    features, gradients = given["features"][0], given["feature_gradients"][0]
    score = np.exp(0.3)  # Y, for S = 0.3
    wanted = np.zeros((4, 3))
    for k in range(5):
        weight = 0.0
        for i, j in np.ndindex(4, 3):
            g = gradients[i, j, k]
            below = 2 * score * g**2 + features[..., k].sum(dtype=float) * score * g**3
            weight += score * g**2 / below * max(score * g, 0)
        wanted += weight * features[..., k]
    found = heat_map("grad-cam++", given, (4, 3, 3))
    np.testing.assert_allclose(found * score, np.maximum(wanted, 0), rtol=1e-4, atol=1e-5)


def test_a_map_is_as_large_as_the_example() -> None:
    given = outputs()
    small = heat_map("grad-cam", given, (4, 3, 3))
    resized = tf.image.resize(small[..., None], SHAPE[:2], "bilinear")[..., 0]
    np.testing.assert_allclose(heat_map("grad-cam", given, SHAPE), resized, atol=1e-5)
    along_time = {name: value[:, :, :1] for name, value in given.items()}  # [B, T, 1, C]
    found = heat_map("grad-cam", along_time, (8, 6))
    assert found.shape == (8, 6)
    assert (found == found[:, :1]).all()
    text = {name: value[:, :, 0] for name, value in given.items()}  # [B, T, C]
    assert heat_map("grad-cam", text, (8,)).shape == (8,)


@pytest.mark.parametrize("domain", ["image", "audio", "text"])
def test_what_speaks_for_a_class_is_found_where_it_is(domain, tiny) -> None:
    """The tiny networks average over places, so what a place adds to the logit is all there is."""
    servable = Servable.load(tiny.exported(domain, explain=True), "tensorflow")
    item = tiny.item(domain, 5)
    found = explain(servable, item, "grad-cam", BEST)
    example = servable.preprocess(servable.decode(item))
    scores = servable.predict(example[np.newaxis]).scores[0]
    assert found.class_id == scores.argmax()
    assert found.score == pytest.approx(scores.max(), abs=1e-5)
    read = servable.run(
        "explain", {"examples": example[np.newaxis], "class_ids": np.array([BEST], np.int32)}
    )
    weights = read["feature_gradients"][0].reshape(-1, read["features"].shape[-1])[0]
    added = np.maximum(read["features"][0] @ weights, 0)
    if domain == "audio":
        assert found.values.shape == example.shape
        np.testing.assert_allclose(found.values[:, 0], added, rtol=1e-4, atol=1e-7)
    elif domain == "text":
        assert list(found.tokens) == list(item)
        np.testing.assert_allclose(found.values, added[: len(item)], rtol=1e-4, atol=1e-7)
    else:
        np.testing.assert_allclose(found.values, added, rtol=1e-4, atol=1e-7)
        saliency = explain(servable, item, "saliency", 2)
        assert saliency.class_id == 2
        slopes = np.abs(_slopes(servable, example, 2)).max(axis=-1)
        np.testing.assert_allclose(saliency.values, slopes, atol=0.02 * slopes.max())
    assert png(found.png).format == "PNG"
    servable.close()


def _slopes(servable: Servable, example: np.ndarray, class_id: int) -> np.ndarray:
    """Of the logit, by central differences: all shifted pictures in one batch."""
    step = 1e-2
    shifts = np.eye(example.size, dtype=np.float32).reshape(-1, *example.shape) * step
    up, down = (
        servable.predict(example + sign * shifts).logits[:, class_id].reshape(example.shape)
        for sign in (1, -1)
    )
    return (up - down) / (2 * step)


def test_what_a_network_has_not_is_refused(tiny) -> None:
    servable = Servable.load(tiny.exported("text", explain=True), "tensorflow")
    for method, item, words in [
        ("cam", "x", "Ask for grad-cam"),
        ("gradcam", "x", f"there are {', '.join(METHODS)}"),
        ("grad-cam", "", "send at least one word"),
        ("grad-cam", b"\xff\xfe", "UTF-8"),
    ]:
        with pytest.raises(InvalidInput, match=words.replace("+", r"\+")):
            explain(servable, item, method, BEST)
    servable.close()


def test_too_large_a_map_is_refused_before_it_is_made(tiny, monkeypatch) -> None:
    monkeypatch.setattr("serving.runtime.explanation.MOST_VALUES", 3)
    servable = Servable.load(tiny.exported("text", explain=True), "tensorflow")
    with pytest.raises(InvalidInput, match="4 values, and 3 are allowed"):
        explain(servable, "four", "grad-cam", BEST)
    servable.close()


# What is drawn


def test_colours_are_viridis() -> None:
    wanted = np.array(matplotlib.colormaps["viridis"].colors) * 255
    found = pictures.coloured(np.linspace(0, 1, 256, dtype=np.float32))
    assert np.abs(found - wanted).max() <= 6


def test_a_picture_is_cut_as_the_network_sees_it() -> None:
    """Black, but for its white centre: of a wide one, the sides fall away."""
    image = np.zeros((40, 120, 3), np.uint8)
    image[:, 40:80] = 255
    values = np.zeros((8, 8), np.float32)
    values[:4] = 3.0
    drawn = png(pictures.draw(values, np.zeros((8, 8, 3)), image, []))
    height = drawn.height
    assert height == pictures.SMALLEST
    pixels = np.asarray(drawn)
    assert (pixels[:, : height - 1] == 255).all()
    upper, lower = pixels[height // 4, -height // 2], pixels[3 * height // 4, -height // 2]
    for found, colour in ((upper, (253, 231, 37)), (lower, (68, 1, 84))):
        mixed = pictures.OPACITY * np.array(colour) + (1 - pictures.OPACITY) * 255
        np.testing.assert_allclose(found, mixed, atol=2)


def test_a_sound_has_low_bands_below_and_time_to_the_right() -> None:
    example = np.random.default_rng(0).normal(size=(50, 20)).astype(np.float32)
    values = np.zeros((50, 20), np.float32)
    values[40:, :5] = 1.0  # late and low
    pixels = np.asarray(png(pictures.draw(values, example, np.zeros(1), []))).astype(int)
    below = pixels[-(len(pixels) // 2 - pictures.GAP) :]
    yellow = below[..., 1] - below[..., 2]  # green over blue
    row, column = np.unravel_index(yellow.argmax(), yellow.shape)
    assert row > 0.7 * len(below)
    assert column > 0.7 * below.shape[1]


def test_a_long_sound_is_drawn_no_wider_than_a_screen() -> None:
    drawn = png(pictures.draw(np.ones((5000, 8)), np.zeros((5000, 8)), np.zeros(1), []))
    assert drawn.width == pictures.LONGEST


def test_tokens_are_drawn_in_lines() -> None:
    one = png(pictures.draw(np.ones(1), np.zeros(8), "x", ["word"]))
    many = png(pictures.draw(np.arange(80.0), np.zeros(128), "x", ["word"] * 80))
    assert one.width == many.width == pictures.TEXT_WIDTH
    assert many.height > 3 * one.height
    monstrous = ["W" * 500, "漢字", "", "\n"]
    assert png(pictures.draw(np.zeros(4), np.zeros(8), "x", monstrous)).width == one.width


@pytest.mark.parametrize("font", [pictures.FONT, "none.ttf"])
def test_what_the_font_has_not_is_drawn_by_its_code_point(font, monkeypatch) -> None:
    monkeypatch.setattr(pictures, "FONT", font)
    for cached in (pictures._font, pictures._has_glyph):
        cached.cache_clear()
    spelt = "U+65E5 U+672C U+8A9E U+30AB U+AC00"
    for word, same in (("日本語カ가", spelt), ("in 中国!", "in  U+4E2D U+56FD !")):
        drawn = [pictures.draw(np.ones(1), np.zeros(8), "x", [each]) for each in (word, same)]
        assert drawn[0] == drawn[1]
    for cached in (pictures._font, pictures._has_glyph):
        cached.cache_clear()


def test_a_map_of_nothing_is_drawn_as_nothing() -> None:
    empty = png(pictures.draw(np.zeros((8, 8)), np.zeros((8, 8, 3)), np.zeros((8, 8, 3), "u1"), []))
    mixed = pictures.OPACITY * np.array((68, 1, 84))
    np.testing.assert_allclose(np.asarray(empty)[10, -10], mixed, atol=2)
