"""The common JPEG, without what Pillow does in Python: the same pixels, of a small one ten times
as fast. What is unusual, damaged or turned is left to Pillow, whose answer then counts.
"""

import numpy as np
import numpy.typing as npt
import simplejpeg

PLAIN = ("Gray", "YCbCr")  # RGB and CMYK have markers of Adobe's, which Pillow knows
START = b"\xff\xd8\xff"
APP1 = b"\xff\xe1"  # Exif or XMP, which may ask to turn the picture; no compressed data has it
REDUCTIONS = (8, 4, 2)
BLOCK = 8  # pixels, which a JPEG can be decoded to any eighth of


def decode_plain(
    data: bytes, max_pixels: int, at_least: int | None
) -> npt.NDArray[np.uint8] | None:
    """uint8 [H, W, 3], or None if Pillow has to look at it.

    Args:    at_least: pixels that both sides have to keep; it is decoded at a half, a quarter or
             an eighth of its size where it does, as by Pillow's `draft`.
    """
    if not data.startswith(START) or APP1 in data:
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
        if colours not in PLAIN or height * width > max_pixels:
            return None
        if at_least is not None:
            fits = min(height, width) // at_least
            reduction = next((n for n in REDUCTIONS if fits >= n), 1)
            if reduction > 1 and min(height, width) <= BLOCK:
                return None  # several reductions round to the same size
            height, width = -(-height // reduction), -(-width // reduction)
        picture: npt.NDArray[np.uint8] = simplejpeg.decode_jpeg(
            data, "RGB", min_height=height, min_width=width
        )
    except ValueError:  # of what libjpeg only warns of, too
        return None
    return picture
