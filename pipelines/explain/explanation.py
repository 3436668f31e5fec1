"""What a method says of one example and one class; how it is drawn is pictures/'s matter."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.explain.network import Network


@dataclass(frozen=True)
class Explanation:
    """
    values: float32, a number for each position of the example: [H, W], [T, F] or [T].
    layer:  the one that was looked at, if any; coarse: its own map, before it was enlarged.
    delta:  of integrated gradients: by how much the values miss the logits' difference.
    """

    method: str
    class_id: int
    label: str
    score: float  # of that class, after softmax
    values: npt.NDArray[np.float32]
    layer: str = ""
    coarse: npt.NDArray[np.float32] | None = None
    delta: float | None = None

    @classmethod
    def of(
        cls,
        network: Network,
        example: npt.NDArray,
        class_id: int,
        method: str,
        values: npt.NDArray,
        **more,
    ) -> "Explanation":
        return cls(
            method,
            class_id,
            network.labels[class_id],
            float(network.scores(example[np.newaxis])[0, class_id]),
            np.asarray(values, np.float32),
            **more,
        )

    @property
    def signed(self) -> bool:
        """Whether there is evidence against the class in it, too."""
        return bool(self.values.min() < 0)
