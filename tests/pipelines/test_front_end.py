"""Many clips at once have the spectrograms that each has alone."""

import numpy as np
import pytest
import tensorflow as tf

from pipelines.front_end import of_many
from pipelines.preprocessing import AudioPreprocessing


@pytest.mark.parametrize("lengths", [(16000,), (1, 8000, 7999, 300)])
@pytest.mark.parametrize(
    ("features", "options"),
    [("mfcc", {"coefficients": 10}), ("log-mel", {"padding": "reflect"})],
)
def test_many_are_as_each_alone(features: str, options: dict, lengths: tuple[int, ...]) -> None:
    inputs = AudioPreprocessing({"sample_rate_hz": 8000, **options}, features)
    rng = np.random.default_rng(0)
    clips = [rng.standard_normal(length).astype(np.float32) for length in lengths]
    found = of_many(inputs)(clips)
    assert len(found) == len(clips)
    for frames, clip in zip(found, clips, strict=True):
        alone = inputs.preprocess(tf.constant(clip)).numpy()
        assert frames.shape == alone.shape
        np.testing.assert_allclose(frames, alone, atol=1e-5)
