"""Sound networks with the front end of their paper, on words and on speakers never heard."""

import sys
from collections.abc import Mapping
from pathlib import Path
from statistics import mean
from types import MappingProxyType
from typing import Any, NamedTuple

from pipelines.datasets.fsdd import SPEAKERS
from pipelines.run import REPORT, TrainConfig, read_json
from pipelines.train import SAMPLE_RATES_HZ, train


class FrontEnd(NamedTuple):
    features: str
    window_ms: int
    hop_ms: int
    options: Mapping[str, Any] = MappingProxyType({})


# fmt: off
FRONT_ENDS = {  # by the first word of a network's name
    #                   features   window hop
    "frequency": FrontEnd("log-mel", 25, 10),
    "cnn":       FrontEnd("log-mel", 25, 10),
    "ds":        FrontEnd("mfcc",    40, 20, {"coefficients": 10}),
    "tc":        FrontEnd("mfcc",    30, 10),
    "bc":        FrontEnd("log-mel", 30, 10),
    "cnn14":     FrontEnd("log-mel", 32, 10, {"mel_bands": 64, "lowest_hz": 50,
                                              "padding": "reflect"}),
}
# fmt: on
# For some thousand clips, where more would be needed.
AUGMENT = {
    "speed": 0.1,
    "shift_seconds": 0.1,
    "snr_db": [5, 40],
    "frequency_masks": 2,
    "time_masks": 2,
}


def settings(model: str, data: str, out: Path, data_dir: Path | None) -> TrainConfig:
    """The run: what `triptych train` would be told."""
    front_end = FRONT_ENDS[model.split("_")[0]]
    rate = SAMPLE_RATES_HZ.get(data.split("-")[0], 16000)
    frames = {
        "window_length": rate * front_end.window_ms // 1000,
        "hop_length": rate * front_end.hop_ms // 1000,
    }
    if front_end.options.get("mel_bands"):
        frames["n_fft"] = 1024  # below it, 64 bands are too narrow for all to have a frequency
    return TrainConfig(
        model=model,
        data=data,
        out=out,
        data_dir=data_dir,
        features=front_end.features,
        feature_options={**frames, **front_end.options},
        augment=AUGMENT,
    )


def speech_commands(model: str, out: Path, data_dir: Path | None = None) -> float:
    """Twelve classes of Speech Commands, by speakers who were never heard: the accuracy.

    python -m pipelines.recipes.sounds speech_commands MODEL OUT [DATA_DIR]
    """
    return _accuracy(settings(model, "speech_commands", out / f"speech_commands-{model}", data_dir))


def fsdd_speakers(model: str, out: Path, data_dir: Path | None = None) -> float:
    """Digits, each speaker's by a network that heard the five others: the mean accuracy.

    python -m pipelines.recipes.sounds fsdd_speakers MODEL OUT [DATA_DIR]
    """
    found = {}
    for speaker in SPEAKERS:
        data = f"fsdd-{speaker}"
        found[speaker] = _accuracy(settings(model, data, out / f"{data}-{model}", data_dir))
    print("  ".join(f"{speaker} {accuracy:.1%}" for speaker, accuracy in found.items()))
    return mean(found.values())


def _accuracy(config: TrainConfig) -> float:
    return read_json(train(config) / REPORT)["test_accuracy"]


if __name__ == "__main__":
    recipe, model, *folders = sys.argv[1:]
    recipes = {"speech_commands": speech_commands, "fsdd_speakers": fsdd_speakers}
    print(f"{model}: {recipes[recipe](model, *map(Path, folders)):.2%}")
