"""A run's folder: what training leaves, and what export reads.

config.json     the TrainConfig, the data set's labels, the preprocessing, what word vectors cover
best.weights.h5 the weights of the epoch with the best validation accuracy
history.csv     a line an epoch           logs/   the same for TensorBoard
backup/         the last epoch, to go on from
report.json     measures, unreadable files, versions         confusion.png
golden/         a few test inputs, as they came
"""

import inspect
import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import keras

import models
from pipelines import preprocessing
from pipelines.preprocessing import Preprocessing
from pipelines.whole_file import write_file

# Pixels. ImageNet's networks halve a picture five times: of this one they would see 2x2 places.
SMALL_IMAGE = 64
REPEATED = {
    "options": "--option",
    "feature_options": "--feature-option",
    "augment": "--augment",
}
CONFIG, WEIGHTS, HISTORY, REPORT = "config.json", "best.weights.h5", "history.csv", "report.json"


@dataclass(frozen=True)
class TrainConfig:
    """One training run; None takes the domain's default (`DEFAULTS` in train.py)."""

    model: str
    data: str
    out: Path
    data_dir: Path | None = None
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    weight_decay: float | None = None
    patience: int | None = None
    seed: int = 0
    image_size: int | None = None  # pixels of the network's square input
    grey: bool = False
    flip: bool = True  # left and right may be swapped
    unit: str | None = None  # of texts: "word" or "character"; None: the network's own
    word_vectors: Path | None = None  # a file of them
    features: str = "log-mel"  # of sounds
    feature_options: Mapping[str, Any] = field(default_factory=dict)
    sample_rate: int | None = None  # Hz
    augment: Mapping[str, Any] = field(default_factory=dict)  # of sounds
    options: Mapping[str, Any] = field(default_factory=dict)

    def command(self) -> str:
        """The command line that runs it again."""
        parts = ["triptych train"]
        for name, value in asdict(self).items():
            default = getattr(type(self), name, None)
            if name in REPEATED:
                flag = REPEATED[name]
                pairs = (f"{key}={_written(value)}" for key, value in value.items())
                parts += [f"{flag} {shlex.quote(pair)}" for pair in pairs]
            elif name in ("grey", "flip"):
                if value != default:
                    parts.append(f"--{name}" if value else f"--no-{name}")
            elif value != default:
                parts.append(f"--{name.replace('_', '-')} {value}")
        return " ".join(parts)


def _written(value: Any) -> str:
    """A value so that the command line reads it again."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


class RunError(Exception):
    """A run's folder that cannot be used; the text says what to do."""


@dataclass(frozen=True)
class Run:
    """The folder, open."""

    folder: Path
    config: Mapping[str, Any]

    @classmethod
    def open(cls, folder: Path) -> "Run":
        try:
            return cls(folder, json.loads((folder / CONFIG).read_text()))
        except FileNotFoundError:
            raise RunError(
                f"{folder} is not a run: it has no {CONFIG}; `triptych train --out {folder} ...`"
                " makes one"
            ) from None

    @classmethod
    def create(
        cls,
        config: TrainConfig,
        labels: tuple[str, ...],
        domain: str,
        inputs: Preprocessing,
        dataset: Mapping[str, Any],
        word_vectors: Mapping[str, Any] | None = None,
    ) -> "Run":
        train = {key: str(v) if isinstance(v, Path) else v for key, v in asdict(config).items()}
        content = {
            "train": train,
            "command": config.command(),
            "domain": domain,
            "labels": list(labels),
            "dataset": dict(dataset),
            "preprocessing": inputs.get_config(),
        }
        if word_vectors:
            content["word_vectors"] = dict(word_vectors)
        config.out.mkdir(parents=True, exist_ok=True)
        write_json(config.out / CONFIG, content)
        return cls(config.out, content)

    @property
    def domain(self) -> str:
        return self.config["domain"]

    @property
    def labels(self) -> list[str]:
        return self.config["labels"]

    @property
    def options(self) -> dict[str, Any]:
        """What create_model takes beside the name and the class count."""
        options = dict(self.config["train"]["options"])
        inputs = self.preprocessing()
        if self.domain == "text":
            options["vocabulary_size"] = inputs.vocabulary_size
            if "word_vectors" in self.config:
                options["embedding_dim"] = self.config["word_vectors"]["dimension"]
        elif self.domain == "image" and max(inputs.height, inputs.width) <= SMALL_IMAGE:
            network = models.ARCHITECTURES[self.config["train"]["model"]].network
            if "small_images" in inspect.signature(network).parameters:
                options.setdefault("small_images", True)
        return options

    def preprocessing(self) -> Preprocessing:
        return preprocessing.from_config(self.domain, self.config["preprocessing"])

    def model(self) -> keras.Model:
        """The network as it was built, its weights not yet trained."""
        keras.utils.set_random_seed(self.config["train"]["seed"])
        spec = self.preprocessing().example_spec
        shape = [1, *(size or 64 for size in spec.shape)]
        name = self.config["train"]["model"]
        try:
            network = models.create_model(name, len(self.labels), **self.options)
            network(keras.ops.zeros(shape, spec.dtype.name))
        except (TypeError, ValueError) as error:
            raise RunError(
                f"{name} cannot be built with {self.options or 'its defaults'} for examples of"
                f" shape {shape[1:]}: {error}"
            ) from error
        return network

    def trained_model(self) -> keras.Model:
        """The network with the weights of its best epoch."""
        if not (self.folder / WEIGHTS).exists():
            raise RunError(
                f"{self.folder} holds no trained weights yet: let `triptych train` finish"
            )
        network = self.model()
        network.load_weights(self.folder / WEIGHTS)
        return network


def read_json(path: Path) -> Any:
    """Raises RunError if there is no such file yet."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise RunError(f"{path} is missing: let `triptych train` finish") from None


def write_json(path: Path, content: Any) -> None:
    write_file(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
