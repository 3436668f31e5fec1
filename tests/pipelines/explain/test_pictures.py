"""Pictures, and the kept part of a sound: what counts is where the values are."""

import io
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from PIL import Image

from pipelines.explain.explanation import Explanation
from pipelines.explain.pictures import audio, draw, image, text
from pipelines.explain.pictures.sheet import Cell, sheet
from pipelines.explain.pictures.words import listed
from tests.pipelines.explain.conftest import MODELS, Opened

Open = Callable[[str], Opened]


def explanation(values: np.ndarray) -> Explanation:
    return Explanation("occlusion", 0, "a <class>", 0.5, values.astype(np.float32))


@pytest.mark.parametrize("domain", MODELS)
def test_a_picture_is_a_png_that_a_page_can_hold(domain: str, opened: Open) -> None:
    network, items, example, _ = opened(domain)
    shape = example.shape if domain == "text" else example.shape[:2]
    content = draw(
        network,
        items[0],
        example,
        explanation(
            np.linspace(-1, 1, shape[0])[(slice(None), *[None] * (len(shape) - 1))] * np.ones(shape)
        ),
    )
    picture = Image.open(io.BytesIO(content))
    assert picture.format == "PNG"
    assert picture.width == 700
    assert len(content) < 150_000


def test_what_says_nothing_stays_grey_and_the_most_is_reddest() -> None:
    values = np.zeros((6, 6))
    values[1, 2], values[4, 4] = 1.0, -1.0
    mixed = image.overlay(np.full((6, 6, 3), 128, np.uint8), explanation(values)).astype(int)
    assert (np.ptp(mixed[values == 0], axis=-1) == 0).all()
    red, _, blue = mixed[1, 2]
    assert red > blue + 50
    red, _, blue = mixed[4, 4]
    assert blue > red + 50


def test_low_bands_are_drawn_below() -> None:
    example = np.zeros((5, 4), np.float32)
    example[:, 0] = 1.0  # loud at the lowest band
    drawn = audio.spectrum(example)
    assert drawn.shape == (4, 5, 3)
    assert drawn[-1].max() < drawn[0].min()


def test_all_kept_is_the_sound_itself_and_half_is_half(opened: Open) -> None:
    network, items, example, _ = opened("audio")
    waveform = network.inputs.decode(items[0])
    whole = audio.kept_part(network, waveform, explanation(np.ones(example.shape)))
    np.testing.assert_allclose(whole, waveform, atol=1e-5)

    half = np.ones(example.shape)
    half[len(half) // 2 :] = -1.0  # what speaks against isn't kept
    kept = audio.kept_part(network, waveform, explanation(half))
    margin = 400  # samples that the windows at the cut reach over
    middle = len(half) // 2 * 80
    np.testing.assert_allclose(kept[: middle - margin], waveform[: middle - margin], atol=1e-5)
    assert np.abs(kept[middle + margin :]).max() < 1e-5


def test_a_band_that_is_kept_alone_is_heard_alone(opened: Open) -> None:
    """Two tones, and a map of the bands around the higher one."""
    network = opened("audio").network
    rate, (low, high) = 8000, (500.0, 2000.0)
    time = np.arange(rate) / rate
    waveform = (np.sin(2 * np.pi * low * time) + np.sin(2 * np.pi * high * time)) / 2
    example = network.inputs.preprocess(waveform.astype(np.float32))
    near = np.abs(network.inputs.frequencies_hz - high) < 300
    kept = audio.kept_part(network, waveform, explanation(np.tile(near, (len(example), 1))))
    power = np.abs(np.fft.rfft(kept[1000:-1000]))
    bins = np.fft.rfftfreq(len(kept) - 2000, 1 / rate)
    at = [power[np.abs(bins - tone) < 20].max() for tone in (low, high)]
    assert at[1] > 1000 * at[0]
    samples, read_rate = soundfile.read(io.BytesIO(audio.wav(kept, rate)))
    assert (len(samples), read_rate) == (len(kept), rate)


def test_words_are_marked_and_nothing_of_theirs_is_markup(opened: Open) -> None:
    network = opened("text").network
    words = "who <b> is galileo"
    example = network.example(words)
    values = np.zeros(len(example))
    values[0] = 1.0
    marked = text.coloured(network, words, example, explanation(values))
    assert [word for word, _, _ in marked] == ["who", "<", "b", ">", "is", "galileo"]
    assert [colour for _, colour, _ in marked[1:]] == [marked[1][1]] * 5
    assert marked[0][1:] == ("#67001f", "white")
    page = text.html(network, words, example, explanation(values))
    assert "&lt;" in page
    assert "<b>" not in page


def test_what_no_font_has_is_drawn_by_its_code_point(opened: Open) -> None:
    """Matplotlib would warn of it, and draw a box."""
    network = opened("text").network
    pictures, plain = [], np.zeros((2, 2), np.uint8)
    for name, gram in (("中", "国 of"), ("U+4E2D", "U+56FD  of")):
        example = network.example("who")
        said = replace(explanation(np.ones(len(example))), label=name)
        drawn = text.draw(network, "who", example, said)
        pictures.append((drawn, listed(name, {name: [gram]}), sheet([[Cell(plain, name)]])))
    assert pictures[0] == pictures[1]
    text.draw(network, "谁 is galileo", network.example("谁 is galileo"), said)
