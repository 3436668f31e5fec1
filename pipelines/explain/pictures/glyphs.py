"""Text as Matplotlib's fonts can draw it, Chinese and Japanese among what they can't."""

from matplotlib.font_manager import findfont, get_font

from serving.runtime.pictures import drawable


def in_glyphs(text: str, family: str = "DejaVu Sans") -> str:
    known = get_font(findfont(family)).get_charmap()
    return drawable(text, lambda character: character == "\n" or ord(character) in known)
