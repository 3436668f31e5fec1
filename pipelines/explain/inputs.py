"""A model's inputs, there and back: bytes or text -> example -> what a person sees of it.

All of it is asked of `preprocess` alone, be it a run's or a version's endpoint: black, white and
red pictures tell how colours were changed, tones which band hears which frequency.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from pipelines.explain.errors import ExplainError
from pipelines.preprocessing import Preprocessing
from pipelines.preprocessing.text import FIRST_ID, PADDING_ID, TextPreprocessing
from protos.triptych.v1 import manifest_pb2
from serving.runtime.decoding import DEFAULT_LIMITS, Limits, decode

Decoded = npt.NDArray[Any] | str
RED = (255, 0, 0)
TONES = 256  # of which each band's loudest is its own
TONE_SECONDS = 0.2


class Inputs:
    """
    spec:       what a decoded input is.
    preprocess: decoded -> one example, no batch axis.
    text:       of a text model: what splits a text as `preprocess` does.
    """

    def __init__(
        self,
        spec: manifest_pb2.InputSpec,
        preprocess: Callable[[Decoded], npt.NDArray[Any]],
        text: TextPreprocessing | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ):
        self.spec = spec
        self.domain: str = spec.WhichOneof("kind")
        self.preprocess = preprocess
        self.text = text
        self._limits = limits

    @classmethod
    def of(cls, preprocessing: Preprocessing, limits: Limits = DEFAULT_LIMITS) -> "Inputs":
        function = tf.function(preprocessing.preprocess, [preprocessing.decoded_spec])
        text = preprocessing if isinstance(preprocessing, TextPreprocessing) else None
        return cls(preprocessing.spec(), lambda x: function(tf.constant(x)).numpy(), text, limits)

    def example(self, item: bytes | str) -> npt.NDArray[Any]:
        """One example, no batch axis.  Raises: InvalidInput."""
        return self.preprocess(self.decode(item))

    def decode(self, item: bytes | str) -> Decoded:
        """What `preprocess` takes.  Raises: InvalidInput."""
        return decode(item, self.spec, self._limits)

    # Pictures.

    def picture(self, example: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        """What the network saw, before its colours were normalised.  [h, w, C] -> [h, w, 3]"""
        offset, scale, order = self._colours
        levels = np.clip((example - offset) * scale, 0, 255).round().astype(np.uint8)
        return np.repeat(levels, 3, axis=-1) if levels.shape[-1] == 1 else levels[..., order]

    def from_pixels(self, levels: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Grey levels 0 to 255 as the network takes them, `picture` the other way round.

        [h, w, C] -> [h, w, C], C as in an example
        """
        offset, scale, order = self._colours
        return (levels[..., np.argsort(order)] / scale + offset).astype(np.float32)

    @cached_property
    def pixel_step(self) -> npt.NDArray[np.float32]:
        """[C]: how far an example's values move for one grey level of 255."""
        return (1 / self._colours[1]).astype(np.float32)

    @cached_property
    def _colours(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any], list[int]]:
        """Of each channel the value of black, and the levels that 1 is worth; the places of RGB."""
        black, white, red = (
            self.preprocess(np.full((8, 8, 3), colour, np.uint8))[0, 0].astype(np.float64)
            for colour in ((0, 0, 0), (255, 255, 255), RED)
        )
        channels = len(black)
        backwards = channels == 3 and (red - black)[0] / (white - black)[0] < 0.5
        order = list(range(channels))
        return black, 255 / (white - black), order[::-1] if backwards else order

    # Sounds.

    @cached_property
    def frame_seconds(self) -> float:
        """From a frame of an example to the next."""
        rate = self.spec.audio.sample_rate_hz
        short, long = (self.preprocess(np.zeros(n * rate, np.float32)) for n in (2, 12))
        return 10 / (len(long) - len(short))

    @cached_property
    def frequencies_hz(self) -> npt.NDArray[np.float64] | None:
        """[F]: the tone that each band hears loudest; None if bands aren't frequencies (MFCC)."""
        rate = self.spec.audio.sample_rate_hz
        time = np.arange(round(TONE_SECONDS * rate)) / rate
        # As even as the ear's scale has them (Slaney's mel is linear below 1 kHz, log above).
        tones = np.interp(
            np.linspace(0, 1, TONES), [0, 0.4, 1], [20, min(1000.0, rate / 4), 0.49 * rate]
        )
        heard = [
            self.preprocess(np.sin(2 * np.pi * tone * time).astype(np.float32)).mean(axis=0)
            for tone in tones
        ]
        loudest = tones[np.argmax(heard, axis=0)]
        return loudest if (np.diff(loudest) >= 0).all() and loudest[0] < loudest[-1] else None

    # Texts.

    def tokens(self, item: bytes | str, example: npt.NDArray[Any]) -> list[str]:
        """What stands at each position of the example; padding is left out."""
        if self.text is None:
            raise ExplainError("only a text has tokens")
        words = [
            token.decode() for token in self.text.tokens(tf.constant(self.decode(item))).numpy()
        ]
        words = words[::-1] if self.text.get_config()["backwards"] else words
        return words[: int(np.count_nonzero(example != PADDING_ID))]

    @cached_property
    def vocabulary(self) -> Sequence[str]:
        """The token of each number; of padding and the unknown, nothing."""
        if self.text is None:
            raise ExplainError("only a text model has a vocabulary")
        return [""] * FIRST_ID + self.text.get_config()["vocabulary"]
