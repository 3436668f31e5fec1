"""A network as seen from inputs within [0, 1]: what all synthesis paints on.

0 is black, or silence, and 1 is white, or full loudness, so that "few pixels" and "8 grey levels"
mean something, and a result is a picture as it stands.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import keras
import numpy as np
import numpy.typing as npt

from models.graph import replay
from pipelines.explain.average_pooling import average_pooling
from pipelines.explain.errors import ExplainError
from pipelines.explain.network import Network

SECONDS = 1  # of a sound that nobody gave


def painted(
    model: keras.Model,
    outputs: keras.KerasTensor | Mapping[str, keras.KerasTensor],
    scale: float | Sequence[float] = 1.0,
    offset: float | Sequence[float] = 0.0,
    size: tuple[int | None, ...] | None = None,
    average_pool: bool = False,
) -> keras.Model:
    """[B, ...] within [0, 1] -> the output, or each by its name.

    Args:    model: functional; outputs: tensors of it; scale, offset: example = scale * input +
             offset, for all channels or one each; size: [H, W] of other inputs than the model's
             own, each may be None; average_pool: in place of maxima.
    Raises:  ValueError if the layers up to there can't have that size.
    """
    looked = keras.Model(model.input, outputs)
    shape = tuple(model.input.shape[1:])
    if size is not None:
        shape = (*size, *shape[len(size) :])
        looked = replay(
            looked, lambda operation, *args, **kwargs: operation(*args, **kwargs), shape
        )
    if average_pool:
        looked = average_pooling(looked)
    canvas = keras.Input(shape)
    scales = [np.asarray(numbers, np.float32).tolist() for numbers in (scale, offset)]
    return keras.Model(canvas, looked(keras.layers.Rescaling(*scales)(canvas)))


class Canvas(NamedTuple):
    """Between inputs within [0, 1] and a network's examples: example = scale * input + offset."""

    network: Network
    scale: npt.NDArray[np.float32]  # [C], or one number of sounds
    offset: npt.NDArray[np.float32]
    shape: tuple[int, ...]  # of an example; a sound's is as of one second

    @classmethod
    def of(cls, network: Network) -> "Canvas":
        """Raises: ExplainError if it is a text's network, which has nothing between two words."""
        if network.domain == "text" or network.inputs is None:
            raise ExplainError(
                f"{network.name} reads text: only pictures and sounds can be changed little by"
                " little. Take a model of these, or activation-maximization for the n-grams that"
                " excite it most"
            )
        preprocess, spec = network.inputs.preprocess, network.inputs.spec
        if network.domain == "image":
            black, white = (
                network.inputs.from_pixels(np.full((1, 1, network.model.input.shape[-1]), level))
                for level in (0, 255)
            )
            shape = tuple(network.model.input.shape[1:])
            return cls(network, (white - black)[0, 0], black[0, 0], shape)
        samples = SECONDS * spec.audio.sample_rate_hz
        noise = np.random.default_rng(0).uniform(-1, 1, samples).astype(np.float32)
        silence, full = preprocess(np.zeros(samples, np.float32)), preprocess(noise)
        low, high = np.float32(silence.min()), np.float32(full.max())
        return cls(network, high - low, low, silence.shape)

    def model(
        self,
        *layers: str,
        size: tuple[int | None, ...] | None = None,
        average_pool: bool = False,
    ) -> keras.Model:
        """[B, ...] within [0, 1] -> the layer's output, or {layer: output} of many; or the logits.

        Raises:  ExplainError if there is no such layer, or it can't have that size.
        """
        outputs = {name: self.network.layer(name) for name in layers}
        wanted = outputs if len(outputs) > 1 else next(iter(outputs.values()), None)
        if wanted is None:
            wanted = self.network.model.output
        return self._painted(wanted, size, average_pool)

    def features(self, layers: Sequence[str], average_pool: bool = False) -> keras.Model:
        """[B, H, W, C] within [0, 1], of any size -> {layer: output}.  Raises: as `model`."""
        size = (None, None) if self.network.domain == "image" else None
        outputs = {name: self.network.layer(name) for name in layers}
        return self._painted(outputs, size, average_pool)

    def _painted(self, outputs, size, average_pool: bool) -> keras.Model:
        size = size or self.shape[:2]
        try:
            return painted(self.network.model, outputs, self.scale, self.offset, size, average_pool)
        except ValueError as error:
            raise ExplainError(
                f"{self.network.name}'s layers take no other size than their own: choose layers"
                f" further down ({str(error).splitlines()[0]})"
            ) from error

    def inputs(self, examples: npt.NDArray) -> npt.NDArray[np.float32]:
        """Examples, or one, as inputs within [0, 1]."""
        return np.clip((examples - self.offset) / self.scale, 0, 1).astype(np.float32)

    def picture(self, inputs: npt.NDArray) -> npt.NDArray[np.uint8]:
        """What a person sees of an input.  [H, W, C] -> [H, W, 3], [T, F] -> [F, T]

        Of a sound, time goes from left to right, and low bands are below.
        """
        if self.network.domain == "audio":
            return (inputs.T[::-1] * 255).round().astype(np.uint8)
        return self.network.inputs.picture(inputs * self.scale + self.offset)
