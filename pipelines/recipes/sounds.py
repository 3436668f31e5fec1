"""Sound networks with the front end of their paper, on words and on speakers never heard."""

import argparse
from collections.abc import Mapping, Sequence
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
# Where the default's 0.002 is too low: at this one bc_resnet1 has after two epochs what it
# otherwise has after four. The paper's SGD at 0.1 (Kim 2021) is about as fast.
LEARNING_RATES = {"bc": 1e-2}
# For some thousand clips, where more would be needed; one stripe of each kind comes by itself.
AUGMENT = {"speed": 0.1, "shift_seconds": 0.1, "snr_db": [10, 40]}


def settings(
    model: str, data: str, out: Path, data_dir: Path | None, epochs: int | None = None
) -> TrainConfig:
    """The run: what `triptych train` would be told."""
    kind = model.split("_")[0]
    front_end = FRONT_ENDS[kind]
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
        epochs=epochs,
        learning_rate=LEARNING_RATES.get(kind),
        features=front_end.features,
        feature_options={**frames, **front_end.options},
        augment=AUGMENT,
    )


def speech_commands(
    model: str, out: Path, data_dir: Path | None = None, epochs: int | None = None
) -> float:
    """Twelve classes of Speech Commands, by speakers who were never heard: the accuracy.

    python -m pipelines.recipes.sounds speech_commands MODEL OUT [DATA_DIR] [--epochs N]
    """
    return _accuracy("speech_commands", model, out, data_dir, epochs)


def fsdd(model: str, out: Path, data_dir: Path | None = None, epochs: int | None = None) -> float:
    """Digits, new takes of speakers who were heard: the accuracy.

    python -m pipelines.recipes.sounds fsdd MODEL OUT [DATA_DIR] [--epochs N]
    """
    return _accuracy("fsdd", model, out, data_dir, epochs)


def fsdd_speakers(
    model: str,
    out: Path,
    data_dir: Path | None = None,
    epochs: int | None = None,
    speakers: Sequence[str] = SPEAKERS,
) -> float:
    """Digits, each speaker's by a network that heard the five others: the mean accuracy.

    python -m pipelines.recipes.sounds fsdd_speakers MODEL OUT [DATA_DIR] [--epochs N]
        [--speakers lucas,theo]
    """
    found = {name: _accuracy(f"fsdd-{name}", model, out, data_dir, epochs) for name in speakers}
    print("  ".join(f"{speaker} {accuracy:.1%}" for speaker, accuracy in found.items()))
    return mean(found.values())


def _accuracy(data: str, model: str, out: Path, data_dir: Path | None, epochs: int | None) -> float:
    config = settings(model, data, out / f"{data}-{model}", data_dir, epochs)
    return read_json(train(config) / REPORT)["test_accuracy"]


def main() -> None:
    recipes = {each.__name__: each for each in (speech_commands, fsdd, fsdd_speakers)}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", choices=recipes)
    parser.add_argument("model")
    parser.add_argument("out", type=Path)
    parser.add_argument("data_dir", type=Path, nargs="?")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--speakers", type=lambda names: names.split(","))
    given = vars(parser.parse_args())
    recipe, speakers = given.pop("recipe"), given.pop("speakers")
    if speakers and recipe != fsdd_speakers.__name__:
        parser.error(f"--speakers is of {fsdd_speakers.__name__} alone")
    chosen = {"speakers": speakers} if speakers else {}
    print(f"{given['model']}: {recipes[recipe](**given, **chosen):.2%}")


if __name__ == "__main__":
    main()
