"""One training run, from a data set's name to a folder that export takes."""

import csv
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from rich.console import Console

import models
from models.layers.embedding import TokenEmbedding
from pipelines.augmentation import AUGMENTATIONS, Augmentation, crop, of_each
from pipelines.batches import MeasuringBatches, TrainingBatches, as_dataset
from pipelines.datasets import Dataset, load_dataset
from pipelines.evaluation.charts import confusion_picture
from pipelines.evaluation.network import confusion
from pipelines.examples import Examples, Reader, fit
from pipelines.front_end import of_many
from pipelines.preprocessing import (
    AudioPreprocessing,
    ImagePreprocessing,
    Preprocessing,
    TextPreprocessing,
)
from pipelines.run import HISTORY, REPORT, WEIGHTS, Run, RunError, TrainConfig, write_json
from pipelines.sound_augmentation import SoundAugmentation
from pipelines.word_vectors import WordVectors, coverage, load

WARMUP_EPOCHS = 2
GOLDEN_INPUTS = 4
PACKAGES = ("keras", "librosa", "numpy", "pillow", "soundfile", "soxr", "triptych")
IMAGE_SIZES = {"cifar10": 32, "mnist": 28}
SAMPLE_RATES_HZ = {"fsdd": 8000}
OF_SOUNDS = ("feature_options", "sample_rate", "augment")  # of TrainConfig


@dataclass(frozen=True)
class Defaults:
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    optimizer: type[keras.optimizers.Optimizer]


# The image row is that of He 2015, section 4.2, with a cosine in place of the steps. Without
# batch norm a tenth of its rate, as Krizhevsky 2012, section 5, and Simonyan 2015, section 3.1.
DEFAULTS = {
    "audio": Defaults(40, 32, 2e-3, 1e-2, keras.optimizers.AdamW),
    "image": Defaults(60, 128, 0.1, 5e-4, keras.optimizers.SGD),
    "text": Defaults(25, 50, 2e-3, 1e-2, keras.optimizers.AdamW),
}


def train(config: TrainConfig, console: Console | None = None) -> Path:
    """Train, go on where an earlier call was cut off, measure on the test split.

    Returns: the run's folder.
    Raises:  RunError, DatasetError or ValueError, each saying what to change.
    """
    console = console or Console(stderr=True)
    if config.model not in models.ARCHITECTURES:
        raise RunError(
            f"no architecture {config.model!r}; there are: {', '.join(models.list_models())}"
        )
    domain = models.ARCHITECTURES[config.model].domain
    data = load_dataset(config.data, config.data_dir, seed=config.seed)
    if data.domain != domain:
        raise RunError(
            f"{config.model} takes {domain}, and {config.data} is {data.domain}: use one of"
            f" {', '.join(models.list_models(data.domain))}"
        )
    if domain != "audio" and any(getattr(config, name) for name in OF_SOUNDS):
        flags = "--feature-option, --sample-rate and --augment"
        raise RunError(f"{flags} are of sounds, and {config.data} is {domain}: leave them out")
    keras.utils.set_random_seed(config.seed)
    sounds = _sound_augmentation(config)
    inputs = preprocessing_for(config, domain)
    _check_word_vectors(config, inputs)
    inputs = fit(inputs, data.train, config.seed)
    splits, unreadable = _read(data, inputs, sounds, console)
    vectors, covered = _word_vectors(config, inputs, splits["train"], console)
    run = _open(config, data, inputs, covered)
    network = run.model()
    if vectors:
        _put(vectors, network)
    console.print(
        f"{config.model}: {network.count_params():,} parameters,"
        f" {len(splits['train']):,} training examples, {len(data.labels)} classes"
    )
    seconds = _fit(config, run, network, inputs, splits, _augmentation(config, inputs, sounds))
    return _report(run, data, splits, unreadable, seconds, console)


def preprocessing_for(config: TrainConfig, domain: str) -> Preprocessing:
    if domain == "image":
        size = config.image_size or IMAGE_SIZES.get(config.data, 64)
        grey = config.grey or config.data == "mnist"
        return ImagePreprocessing(size, size, channels=1 if grey else 3)
    if domain == "audio":
        rate = config.sample_rate or SAMPLE_RATES_HZ.get(config.data.partition("-")[0], 16000)
        return AudioPreprocessing(
            {"sample_rate_hz": rate, **config.feature_options}, config.features
        )
    settings = dict(models.ARCHITECTURES[config.model].inputs)
    if config.unit:  # the data's own tokens, in place of the network's alphabet
        settings |= {"unit": config.unit, "vocabulary": (), "keep_spaces": False}
    return TextPreprocessing(**settings)


def _check_word_vectors(config: TrainConfig, inputs: Preprocessing) -> None:
    if config.word_vectors is None:
        form = {**models.ARCHITECTURES[config.model].options, **config.options}.get("form", "rand")
        if form != "rand":
            raise RunError(
                f"{config.model} starts from word vectors: give it a file by --word-vectors, or"
                " train kim_cnn, which learns its own"
            )
    elif inputs.domain != "text" or inputs.unit != "word":
        raise RunError(f"{config.model} reads no words: leave --word-vectors out")
    elif "embedding_dim" in config.options:
        raise RunError("the file says how long its word vectors are: leave embedding_dim out")


def _word_vectors(
    config: TrainConfig, inputs: Preprocessing, train: Examples, console: Console
) -> tuple[WordVectors | None, dict[str, Any] | None]:
    """The file's, and what they cover of the training texts."""
    if config.word_vectors is None:
        return None, None
    vocabulary = inputs.get_config()["vocabulary"]
    vectors = load(config.word_vectors, vocabulary, config.seed)
    counts = np.bincount(np.concatenate(train.values), minlength=inputs.vocabulary_size)
    covered = coverage(vectors, vocabulary, counts)
    console.print(f"{config.word_vectors}: {covered}", highlight=False, markup=False)
    return vectors, {"dimension": vectors.matrix.shape[1], **covered._asdict()}


def _put(vectors: WordVectors, network: keras.Model) -> None:
    """Into all embeddings of the network: of Kim's multichannel form, two."""
    for layer in network._flatten_layers():
        if isinstance(layer, TokenEmbedding):
            layer.embeddings.assign(vectors.matrix)


def _sound_augmentation(config: TrainConfig) -> SoundAugmentation:
    try:
        return SoundAugmentation(**config.augment)
    except TypeError as error:
        known = ", ".join(field.name for field in fields(SoundAugmentation))
        raise RunError(
            f"{dict(config.augment)} can't augment: {error}; known are {known}"
        ) from error


def _augmentation(
    config: TrainConfig, inputs: Preprocessing, sounds: SoundAugmentation
) -> Augmentation:
    if inputs.domain == "image" and (not config.flip or config.data == "mnist"):
        return of_each(crop)
    if inputs.domain != "audio":
        return of_each(AUGMENTATIONS[inputs.domain])
    if not sounds.changes_waveforms:
        return of_each(sounds.spectrogram)
    rate, preprocess = inputs.front_end.sample_rate_hz, of_many(inputs)

    def augmented(waveforms: Sequence[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
        changed = [sounds.waveform(waveform, rate, rng) for waveform in waveforms]
        return [sounds.spectrogram(frames, rng) for frames in preprocess(changed)]

    return augmented


def _read(
    data: Dataset, inputs: Preprocessing, sounds: SoundAugmentation, console: Console
) -> tuple[dict[str, Examples], list[dict[str, str]]]:
    splits, unreadable = {}, [{"source": str(s), "reason": r} for s, r in data.skipped]
    reader = Reader(inputs)
    for name in ("train", "validation", "test"):
        # What changes each epoch, before the front end, is kept as it was before.
        waveforms = name == "train" and data.domain == "audio" and sounds.changes_waveforms
        splits[name], bad = reader.read(getattr(data, name), name, preprocess=not waveforms)
        unreadable += [{"source": source, "reason": reason} for source, reason in bad]
        if not len(splits[name]):
            raise RunError(f"{data.name}: not one {name} example can be read; see {bad[:3]}")
    for item in unreadable[:10]:
        console.print(f"[yellow]left out[/] {item['source']}: {item['reason']}", highlight=False)
    if len(unreadable) > 10:
        console.print(f"[yellow]left out[/] {len(unreadable) - 10} more: see {REPORT}")
    return splits, unreadable


def _open(
    config: TrainConfig,
    data: Dataset,
    inputs: Preprocessing,
    word_vectors: Mapping[str, Any] | None,
) -> Run:
    dataset = {
        "name": data.name,
        "source": data.origin,
        "licence": data.licence,
        **{
            f"{split}_examples": len(getattr(data, split))
            for split in ("train", "validation", "test")
        },
    }
    if (config.out / "config.json").exists():
        before = Run.open(config.out)
        if before.config["command"] != config.command():
            raise RunError(
                f"{config.out} holds another run ({before.config['command']}): give another --out,"
                " or remove the folder"
            )
    return Run.create(config, data.labels, data.domain, inputs, dataset, word_vectors)


def _fit(
    config: TrainConfig,
    run: Run,
    network: keras.Model,
    inputs: Preprocessing,
    splits: Mapping[str, Examples],
    augmentation: Augmentation,
) -> float:
    defaults = DEFAULTS[run.domain]
    epochs = config.epochs or defaults.epochs
    batches = TrainingBatches(
        splits["train"],
        config.batch_size or defaults.batch_size,
        augmentation,
        silence=_silence(inputs),
        centre=run.domain == "audio",
        seed=config.seed,
    )
    peak = config.learning_rate or defaults.learning_rate
    if config.learning_rate is None and run.domain == "image" and not _normalised(network):
        peak /= 10
    warmup = min(WARMUP_EPOCHS, epochs // 4) * len(batches)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0 if warmup else peak,
        max(1, epochs * len(batches) - warmup),
        warmup_target=peak if warmup else None,
        warmup_steps=warmup,
    )
    momentum = {"momentum": 0.9, "nesterov": True} if run.domain == "image" else {}
    decay = defaults.weight_decay if config.weight_decay is None else config.weight_decay
    optimizer = defaults.optimizer(schedule, weight_decay=decay, **momentum)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta", "length"])
    network.compile(
        optimizer,
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.SparseCategoricalAccuracy("accuracy")],
        jit_compile=False,  # XLA's convolutions on a CPU are half as fast as oneDNN's
    )
    started = time.monotonic()
    network.fit(
        as_dataset(batches, inputs.example_spec),
        validation_data=as_dataset(MeasuringBatches(splits["validation"]), inputs.example_spec),
        epochs=epochs,
        shuffle=False,  # the batches are
        verbose=1 if sys.stderr.isatty() else 2,
        callbacks=_callbacks(run.folder, config.patience or epochs),
    )
    return time.monotonic() - started


def _normalised(network: keras.Model) -> bool:
    return any(
        isinstance(layer, keras.layers.BatchNormalization) for layer in network._flatten_layers()
    )


class KeepBest(keras.callbacks.Callback):
    """Save the weights of the epoch with the best validation accuracy; of equals, the least loss.

    An earlier call's epochs count too: they are in the history.
    """

    def __init__(self, folder: Path):
        super().__init__()
        self.path = folder / WEIGHTS
        self.best = (-1.0, 0.0)
        if (folder / HISTORY).exists():
            rows = np.genfromtxt(folder / HISTORY, delimiter=",", names=True, ndmin=1)
            self.best = max(
                zip(rows["val_accuracy"], -rows["val_loss"], strict=True), default=self.best
            )

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        now = (logs["val_accuracy"], -logs["val_loss"])
        if now > self.best:
            self.best = now
            self.model.save_weights(self.path)


class History(keras.callbacks.Callback):
    """A line an epoch, on disk as soon as the epoch ends, after those of an earlier call."""

    def __init__(self, path: Path):
        super().__init__()
        self.path = path

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        new = not self.path.exists()
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, ["epoch", *logs])
            if new:
                writer.writeheader()
            writer.writerow({"epoch": epoch, **logs})


def _callbacks(folder: Path, patience: int) -> list[keras.callbacks.Callback]:
    return [
        keras.callbacks.BackupAndRestore(folder / "backup", delete_checkpoint=False),
        KeepBest(folder),
        History(folder / HISTORY),
        keras.callbacks.TensorBoard(folder / "logs"),
        keras.callbacks.EarlyStopping(monitor="val_accuracy", mode="max", patience=patience),
    ]


def _silence(inputs: Preprocessing) -> np.ndarray | int:
    if inputs.domain != "audio":
        return 0
    return inputs.preprocess(np.zeros(1, np.float32)).numpy()[0]


def _report(
    run: Run,
    data: Dataset,
    splits: Mapping[str, Examples],
    unreadable: list[dict[str, str]],
    seconds: float,
    console: Console,
) -> Path:
    network = run.trained_model()
    counts = confusion(network, splits["test"], len(data.labels))
    accuracy = float(np.trace(counts) / counts.sum())
    title = f"{run.config['train']['model']} on {data.name}: {accuracy:.2%} of the test data"
    (run.folder / "confusion.png").write_bytes(confusion_picture(counts, data.labels, title))
    report: dict[str, Any] = {
        "test_accuracy": accuracy,
        "test_examples": len(splits["test"]),
        "confusion": counts.tolist(),
        "labels": list(data.labels),
        "parameters": network.count_params(),
        "seconds": round(seconds, 1),
        "command": run.config["command"],
        "versions": {name: version(name) for name in PACKAGES} | {"tensorflow": tf.__version__},
        "unreadable": unreadable,
    }
    if "word_vectors" in run.config:
        report["word_vectors"] = run.config["word_vectors"]
    write_json(run.folder / REPORT, report)
    _keep_golden(run.folder / "golden", splits["test"])
    console.print(
        f"test accuracy [bold]{accuracy:.2%}[/] on {len(splits['test']):,} examples;"
        f" see {run.folder / 'confusion.png'}\n"
        f"next: triptych export {run.folder} --repository model_repository"
    )
    return run.folder


def _keep_golden(folder: Path, test: Examples) -> None:
    """Test inputs of different classes, as they came, for export to compare scores on."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    _, first = np.unique(test.class_ids, return_index=True)
    for number, i in enumerate(first[:GOLDEN_INPUTS]):
        source = test.sources[i]
        if isinstance(source, Path):
            shutil.copyfile(source, folder / f"{number}{source.suffix}")
        else:
            (folder / f"{number}.txt").write_text(source)
