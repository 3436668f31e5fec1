"""Deep Dream and style transfer on pictures of any size."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from pipelines.explain import deep_dream as dreaming
from pipelines.explain import style_transfer as restyling
from pipelines.explain.canvas import Canvas
from pipelines.explain.errors import ExplainError
from pipelines.explain.exhibits.exhibit import Exhibit
from pipelines.explain.network import Network
from pipelines.explain.pictures.sheet import photo

STRENGTH = 3.0
SMALLEST, LARGEST = 16, 2048
SIDE = 320  # pixels of the longer side, whatever the picture's own are


def dream(
    network: Network,
    item: bytes,
    *,
    layers: Sequence[str] = (),
    size: int = SIDE,
    steps: int = dreaming.STEPS,
    octaves: int = dreaming.OCTAVES,
) -> Exhibit:
    """
    Args:    layers: all of the same weight, by the size of their maps; by default the last with
             positions; steps: an octave.
    """
    canvas = _of_pictures(network)
    names = list(layers) or [network.last_conv]
    features = canvas.features(names)
    picture = _pixels(canvas, item, size)
    # A layer's share is the same whether it has few numbers or many.
    outputs = features(picture[None], training=False)
    weights = {name: 1 / float(np.square(outputs[name]).mean()) for name in names}
    dreamt = dreaming.deep_dream(features, picture, weights, steps=steps, octaves=octaves)
    after = features(dreamt[None], training=False)
    facts = [
        f"{name}: ½‖h‖² {float(dreaming.half_square(outputs[name])[0]):.4g}"
        f" -> {float(dreaming.half_square(after[name])[0]):.4g}"
        for name in names
    ]
    return Exhibit(photo(canvas.picture(dreamt)), {"picture": dreamt}, facts)


def restyle(
    network: Network,
    content: bytes,
    style: bytes,
    *,
    content_layers: Sequence[str] = (),
    style_layers: Sequence[str] = (),
    size: int = SIDE,
    steps: int = 200,
    strength: float = STRENGTH,
    total_variation: float = 0.0,
    optimizer: str = "l-bfgs",
    average_pool: bool = False,
) -> Exhibit:
    """
    Args:    content_layers: by default one in the middle; style_layers: five from the input up to
             there; strength: what the wrong style costs at the beginning, in units of what it
             would cost to lose all of the content. It gives beta: how large a network's numbers
             are says nothing then.
    """
    if optimizer not in restyling.OPTIMIZERS:
        known = " or ".join(restyling.OPTIMIZERS)
        raise ExplainError(f"optimizer must be {known}, not {optimizer!r}")
    canvas = _of_pictures(network)
    maps = [name for name in dict.fromkeys(network.names.values()) if network.layer(name).ndim == 4]
    middle = len(maps) // 2
    content_layers = list(content_layers) or [maps[middle]]
    style_layers = list(style_layers) or list(
        dict.fromkeys(maps[n] for n in np.linspace(0, middle, 5).astype(int))
    )
    features = canvas.features([*content_layers, *style_layers], average_pool)
    pictures = [_pixels(canvas, item, size) for item in (content, style)]
    contents, styles = (features(picture[None], training=False) for picture in pictures)
    nothing = sum(restyling.content_loss(contents[name], 0.0) for name in content_layers) / len(
        content_layers
    )
    wrong = sum(restyling.style_loss(contents[name], styles[name]) for name in style_layers) / len(
        style_layers
    )
    beta = strength * float(nothing) / max(float(wrong), 1e-12)
    done = restyling.style_transfer(
        features,
        *pictures,
        content_layers,
        style_layers,
        beta=beta,
        steps=steps,
        total_variation=total_variation,
        optimizer=optimizer,
    )
    facts = [
        f"loss {done.losses[0]:.4g} -> {done.losses.min():.4g}, {len(done.losses)} evaluations",
        f"content of {', '.join(content_layers)}; style of {', '.join(style_layers)}",
    ]
    values = {"picture": done.picture, "losses": done.losses}
    return Exhibit(photo(canvas.picture(done.picture)), values, facts)


def _of_pictures(network: Network) -> Canvas:
    if network.domain != "image":
        raise ExplainError(f"{network.name} takes {network.domain}: choose a network for pictures")
    return Canvas.of(network)


def _pixels(canvas: Canvas, item: bytes, size: int) -> np.ndarray:
    """[H, W, C] within [0, 1], the longer side of `size` pixels, bicubic."""
    picture = Image.fromarray(canvas.network.inputs.decode(item))
    if not SMALLEST <= size <= LARGEST:
        raise ExplainError(
            f"size is the longer side in pixels, {SMALLEST} to {LARGEST}, not {size}"
        )
    ratio = size / max(picture.size)
    sides = [max(1, round(side * ratio)) for side in picture.size]
    picture = picture.resize(sides, Image.Resampling.BICUBIC)
    levels = np.asarray(picture.convert("L") if canvas.shape[-1] == 1 else picture, np.float32)
    levels = levels.reshape(*levels.shape[:2], -1)
    return canvas.inputs(canvas.network.inputs.from_pixels(levels))
