"""How many channels a narrower or wider network has."""

DIVISOR = 8  # what vector units like; Howard 2017's code, and all after it


def make_divisible(channels: float) -> int:
    """The nearest multiple of eight, of at least eight, and not under nine tenths of `channels`.

    Source:  Sandler 2018's published code; the paper doesn't say.
    """
    nearest = max(DIVISOR, int(channels + DIVISOR / 2) // DIVISOR * DIVISOR)
    return nearest + DIVISOR if nearest < 0.9 * channels else nearest
