"""The checkerboard of transposed convolutions beside its two cures; no network is needed."""

import keras
import numpy as np

from pipelines.explain.checkerboard import unevenness, upsampling
from pipelines.explain.exhibits.exhibit import Exhibit
from pipelines.explain.pictures.sheet import Cell, sheet

SIZE, LAYERS = 12, 2  # of a soft spot, made larger twice
WAYS = {
    "transposed, kernel 3, stride 2": ("transposed", 3),
    "transposed, kernel 4, stride 2": ("transposed", 4),
    "resized, then kernel 3": ("resize", 3),
}


def checkerboards() -> Exhibit:
    """What each makes of a soft spot, its kernels plain, so that nothing else makes patterns."""
    places = np.linspace(-1, 1, SIZE)
    spot = np.exp(-2 * (places[:, None] ** 2 + places[None] ** 2)).astype(np.float32)
    plain = np.ones_like(spot)
    cells, facts, values = [Cell(spot, "input\n")], [], {"input": spot}
    for name, (way, kernel_size) in WAYS.items():
        spotted, even = (_enlarged(picture, way, kernel_size) for picture in (spot, plain))
        uneven = unevenness(even, border=SIZE)
        cells.append(Cell(spotted[..., 0], f"{name}\nunevenness {uneven:.2f}"))
        facts.append(f"{name}: unevenness of a plain input {uneven:.3f}")
        values[name] = spotted
    title = "two layers that double a map: the checkerboard, and two ways to have none"
    return Exhibit(sheet([cells], title, inches=1.9), values, facts)


def _enlarged(picture: np.ndarray, way: str, kernel_size: int) -> np.ndarray:
    x = keras.ops.convert_to_tensor(picture[None, ..., None])
    for _ in range(LAYERS):
        mean = keras.initializers.Constant(1 / kernel_size**2)
        x = upsampling(1, kernel_size, way=way, kernel_initializer=mean)(x)
    return keras.ops.convert_to_numpy(x)[0]
