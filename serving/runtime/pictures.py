"""A map of evidence as a PNG, over the input that it is of. Pillow and NumPy, no Matplotlib.

Colours are viridis's, which colour-blind people tell apart, dark for nothing and yellow for the
largest value of the map. Of a picture what is left dark stays visible.
"""

import io
import math
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

# Every sixteenth of viridis's 256 colours, and the last (van der Walt & Smith 2015, CC0): what is
# between them is a straight line here, at most six levels off.
# fmt: off
VIRIDIS = np.array([
    (68, 1, 84), (72, 24, 106), (71, 45, 123), (66, 64, 134), (59, 82, 139),
    (51, 99, 141), (44, 114, 142), (38, 130, 142), (33, 145, 140), (31, 160, 136),
    (40, 174, 128), (63, 188, 115), (94, 201, 98), (132, 212, 75), (173, 220, 48),
    (216, 226, 25), (253, 231, 37),
], np.float32)
# fmt: on
PLACES = [*range(0, 256, 16), 255]
COLOURS = np.stack([np.interp(range(256), PLACES, part) for part in VIRIDIS.T], axis=-1)
COLOURS = COLOURS.round().astype(np.uint8)  # [256, 3]
OPACITY = 0.6  # of the map over a picture or spectrogram
SMALLEST, LARGEST = 256, 512  # the longer side of what is drawn, in pixels
LONGEST = 1024  # of a sound
GAP = 8
TEXT_WIDTH, FONT_SIZE, PADDING = 640, 20, 5
FONT = "DejaVuSans.ttf"  # if the machine has it; else Pillow's own, which has ASCII and little more
NO_CHARACTER = "\U0010ffff"

Pixels = npt.NDArray[np.uint8]
Values = npt.NDArray[np.float32]


def draw(
    values: Values,
    example: npt.NDArray[Any],
    decoded: npt.NDArray[Any] | str,
    tokens: Sequence[str],
) -> bytes:
    """A PNG. What is negative is drawn as nothing.

    Args: values: [H, W], [T, F] or [T]; example: without batch axis; decoded: what it was made of.
    """
    if isinstance(decoded, str):
        picture = _of_text(_scaled(values), tokens)
    elif example.ndim == 3:
        picture = _of_image(_scaled(values), decoded)
    else:
        picture = _of_sound(_scaled(values), example)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def coloured(scaled: Values) -> Pixels:
    """[...] in [0, 1] -> [..., 3]."""
    return COLOURS[np.rint(scaled * 255).astype(np.uint8)]


def _of_image(scaled: Values, image: Pixels) -> Image.Image:
    """The part that the network sees, and the map over it. Both are enlarged by bicubic pixels."""
    height, width = scaled.shape
    factor = min(max(SMALLEST / max(height, width), 1), LARGEST / max(height, width))
    size = max(round(width * factor), 1), max(round(height * factor), 1)
    seen = _centre(Image.fromarray(image), width / height).resize(size, Image.Resampling.BICUBIC)
    over = Image.fromarray(scaled).resize(size, Image.Resampling.BICUBIC)
    heat = coloured(np.clip(np.asarray(over), 0, 1))
    beside = Image.new("RGB", (2 * size[0] + GAP, size[1]), "white")
    beside.paste(seen, (0, 0))
    beside.paste(Image.blend(seen, Image.fromarray(heat), OPACITY), (size[0] + GAP, 0))
    return beside


def _centre(image: Image.Image, proportion: float) -> Image.Image:
    """Cut to width / height, as the artefact's preprocessing does."""
    width, height = image.size
    inner = min(width, round(height * proportion) or 1), min(height, round(width / proportion) or 1)
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    return image.crop((left, top, left + inner[0], top + inner[1]))


def _of_sound(scaled: Values, spectrogram: Values) -> Image.Image:
    """Its spectrogram, and below it the map over that: frames to the right, bands upwards."""
    low, high = np.percentile(spectrogram, [1, 99])
    grey = np.clip((spectrogram - low) / max(high - low, 1e-6), 0, 1) * 255
    shades = np.repeat(grey[..., np.newaxis], 3, axis=-1)
    mixed = (1 - OPACITY) * shades + OPACITY * coloured(scaled)
    frames, bands = scaled.shape
    tall = math.ceil(SMALLEST / 2 / bands) * bands
    wide = min(max(math.ceil(SMALLEST / frames), 4) * frames, LONGEST)
    below = Image.new("RGB", (wide, 2 * tall + GAP), "white")
    for pixels, top in ((shades, 0), (mixed, tall + GAP)):
        upright = np.swapaxes(pixels, 0, 1)[::-1].round().astype(np.uint8)
        panel = Image.fromarray(upright).resize((wide, tall), Image.Resampling.NEAREST)
        below.paste(panel, (0, top))
    return below


def _of_text(scaled: Values, tokens: Sequence[str]) -> Image.Image:
    """Tokens in lines, each on its colour, and dark letters or light ones, whichever is read."""
    font = _font()
    tokens = [drawable(token, _has_glyph) for token in tokens]
    height = FONT_SIZE + 2 * PADDING
    places, x, y = [], PADDING, PADDING
    for token in tokens:
        width = min(round(font.getlength(token)), TEXT_WIDTH - 4 * PADDING) + 2 * PADDING
        if x + width > TEXT_WIDTH - PADDING:
            x, y = PADDING, y + height + PADDING
        places.append((x, y, x + width, y + height))
        x += width + PADDING
    picture = Image.new("RGB", (TEXT_WIDTH, y + height + PADDING), "white")
    canvas = ImageDraw.Draw(picture)
    for token, place, value, colour in zip(tokens, places, scaled, coloured(scaled), strict=True):
        canvas.rounded_rectangle(place, PADDING, tuple(int(part) for part in colour))
        ink = "black" if value > 0.5 else "white"
        canvas.text((place[0] + PADDING, place[1] + PADDING), token, ink, font)
    return picture


def drawable(token: str, has_glyph: Callable[[str], bool]) -> str:
    """What a font has no glyph for by its code point, as U+4E2D: its boxes all look alike."""
    parts: list[str] = []
    for known, group in groupby(token, has_glyph):
        characters = "".join(group)
        parts += [characters] if known else (f"U+{ord(each):04X}" for each in characters)
    return " ".join(parts)


@cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    try:
        # Raqm, the other engine, is there on some machines alone, and fails at a line's end.
        return ImageFont.truetype(FONT, FONT_SIZE, layout_engine=ImageFont.Layout.BASIC)
    except OSError:
        return ImageFont.load_default(FONT_SIZE)


@lru_cache(maxsize=4096)
def _has_glyph(character: str) -> bool:
    if not character.isprintable():
        return False
    glyph, box = (_font().getmask(each) for each in (character, NO_CHARACTER))
    return (glyph.size, bytes(glyph)) != (box.size, bytes(box))


def _scaled(values: Values) -> Values:
    """To [0, 1]. A map of nothing stays so."""
    positive = np.maximum(np.nan_to_num(values), 0)
    scaled: Values = positive / max(float(positive.max(initial=0)), np.finfo(np.float32).tiny)
    return scaled
