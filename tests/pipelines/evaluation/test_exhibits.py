"""What a mistake looks and sounds like."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from pipelines.evaluation.exhibits import TEXT_CHARACTERS, exhibit, spectrogram
from protos.triptych.v1 import manifest_pb2

IMAGE = manifest_pb2.InputSpec(image=manifest_pb2.ImageInput(height=32, width=32, channels=3))
TEXT = manifest_pb2.InputSpec(text=manifest_pb2.TextInput(max_tokens=10))


@pytest.mark.parametrize("hertz", [500, 2000, 3500])
def test_a_tone_is_the_brightest_row_of_its_spectrogram(hertz):
    wave = np.sin(2 * np.pi * hertz * np.arange(8000) / 8000).astype(np.float32)
    rows = spectrogram(wave, 8000).sum(axis=(1, 2))
    share = 1 - (rows.argmax() + 0.5) / len(rows)  # from below
    assert share * 4000 == pytest.approx(hertz, abs=60)


@pytest.mark.parametrize("samples", [1, 7, 100])
def test_the_shortest_sounds_have_one_too(samples):
    assert spectrogram(np.full(samples, 0.5, np.float32), 8000).shape == (128, 320, 3)


def test_a_large_picture_is_made_small(tmp_path):
    Image.new("RGB", (4000, 1000), "red").save(tmp_path / "large.jpg")
    shown = exhibit(tmp_path / "large.jpg", IMAGE)
    assert shown.alt == "the picture, 4000 x 1000 pixels"
    assert not shown.enlarged
    assert len(shown.picture) < 20_000


def test_a_long_text_is_cut_with_its_length():
    shown = exhibit("word " * 1000, TEXT)
    assert shown.text.endswith("… (5,000 characters)")
    assert len(shown.text) < TEXT_CHARACTERS + 30


def test_a_file_that_is_gone_is_said_to_be(tmp_path):
    assert "No such file" in exhibit(tmp_path / "gone.png", IMAGE).text


def test_a_picture_keeps_its_pixels(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "small.png")
    shown = exhibit(tmp_path / "small.png", IMAGE)
    content = base64.b64decode(shown.picture.partition(",")[2])
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(content))), pixels)
    assert shown.enlarged
