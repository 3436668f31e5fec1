"""Examples -> batches, for training and for measuring."""

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from pipelines.augmentation import Augmentation
from pipelines.examples import Examples

Batch = tuple[np.ndarray, np.ndarray]  # examples [B, ...], class_ids [B]


class TrainingBatches:
    """Shuffled, augmented batches, new each time it is iterated over.

    Examples of like length come together, padded to the longest.

    Args:    silence: what a padded place holds, [F] or a number; centre: pad at both ends, in
             random parts, or at the end only.
    """

    def __init__(
        self,
        examples: Examples,
        batch_size: int,
        augmentation: Augmentation | None,
        silence: np.ndarray | int = 0,
        centre: bool = False,
        seed: int = 0,
    ):
        self.examples = examples
        self.batch_size = batch_size
        self.augmentation = augmentation
        self.silence = silence
        self.centre = centre
        self.rng = np.random.default_rng(seed)

    def __len__(self) -> int:
        return max(1, round(len(self.examples) / self.batch_size))

    def __iter__(self) -> Iterator[Batch]:
        for chosen in self._shuffled():
            values = [self.examples.values[i] for i in chosen]
            if self.augmentation is not None:
                values = self.augmentation(values, self.rng)
            longest = max(len(value) for value in values)
            padded = np.stack([self._pad(value, longest) for value in values])
            yield padded, self.examples.class_ids[chosen]

    def _shuffled(self) -> list[np.ndarray]:
        order = self.rng.permutation(len(self.examples))
        if isinstance(self.examples.values, list):
            # Sorting with noise of a tenth keeps lengths alike and neighbours new.
            lengths = np.array([len(self.examples.values[i]) for i in order])
            order = order[np.argsort(lengths * self.rng.uniform(0.9, 1.1, len(order)))]
        batches = np.array_split(order, len(self))
        return [batches[i] for i in self.rng.permutation(len(batches))]

    def _pad(self, value: np.ndarray, length: int) -> np.ndarray:
        missing = length - len(value)
        if not missing:
            return value
        before = int(self.rng.integers(missing + 1)) if self.centre else 0
        padded = np.empty((length, *value.shape[1:]), value.dtype)
        padded[:] = self.silence
        padded[before : before + len(value)] = value
        return padded


class MeasuringBatches:
    """Batches of one shape each, as a server makes them: nothing is padded, nothing changed."""

    def __init__(self, examples: Examples, batch_size: int = 256):
        self.examples = examples
        by_shape = defaultdict(list)
        for i in range(len(examples)):
            by_shape[examples.values[i].shape].append(i)
        self.batches = [
            np.array(group[start : start + batch_size])
            for group in by_shape.values()
            for start in range(0, len(group), batch_size)
        ]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        for chosen in self.batches:
            values = np.stack([self.examples.values[i] for i in chosen])
            yield values, self.examples.class_ids[chosen]


def as_dataset(
    batches: TrainingBatches | MeasuringBatches, example: tf.TensorSpec
) -> tf.data.Dataset:
    """The batches as Keras takes them; `example` has no batch axis."""
    signature = (
        tf.TensorSpec([None, *example.shape], example.dtype),
        tf.TensorSpec([None], tf.int32),
    )
    dataset = tf.data.Dataset.from_generator(lambda: iter(batches), output_signature=signature)
    return dataset.apply(tf.data.experimental.assert_cardinality(len(batches))).prefetch(2)
