"""Explanations as pictures, one file a domain. Methods know nothing of these."""

import numpy.typing as npt

from pipelines.explain.explanation import Explanation
from pipelines.explain.network import Network
from pipelines.explain.pictures import audio, image, text


def draw(
    network: Network, item: bytes | str, example: npt.NDArray, explanation: Explanation
) -> bytes:
    """PNG."""
    if network.domain == "text":
        return text.draw(network, item, example, explanation)
    drawing = audio.draw if network.domain == "audio" else image.draw
    return drawing(network, example, explanation)
