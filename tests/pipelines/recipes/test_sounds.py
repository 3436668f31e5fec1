"""Each sound network has a recipe that it can be built by."""

from pathlib import Path

import keras
import pytest

import models
from models.graph import shapes_only
from pipelines.preprocessing import AudioPreprocessing
from pipelines.recipes.sounds import settings
from pipelines.sound_augmentation import SoundAugmentation

NETWORKS = ("frequency_cnn", "cnn_trad_fpool3", "ds_cnn_s", "tc_resnet8", "bc_resnet1", "cnn14")


@pytest.mark.parametrize("data", ["speech_commands", "fsdd-theo"])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_network_takes_what_its_front_end_gives(name: str, data: str) -> None:
    config = settings(name, data, Path("run"), None)
    rate = 8000 if data.startswith("fsdd") else 16000
    inputs = AudioPreprocessing({"sample_rate_hz": rate, **config.feature_options}, config.features)
    SoundAugmentation(**config.augment)
    with shapes_only():
        network = models.create_model(name, 12)
        frames, bands = 99, inputs.front_end.bands
        assert network.call(keras.KerasTensor((1, frames, bands))).shape == (1, 12)


def test_no_network_is_left_out() -> None:
    for name in models.list_models("audio"):
        settings(name, "fsdd", Path("run"), None)
