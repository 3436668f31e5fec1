"""`triptych train`: a data set's name, or a person's own folder, to a trained network."""

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from triptych.console import fail, key_value

EXAMPLE = (
    "Example: triptych train --model resnet20 --data cifar10 --out runs/cifar10\n\n"
    "Your own data: triptych train --model resnet20 --data photos/ --out runs/mine"
)


def command(
    model: Annotated[str, typer.Option(metavar="NAME", help="See `triptych models list`.")],
    data: Annotated[
        str,
        typer.Option(
            metavar="DATA",
            help="cifar10, mnist, fsdd, fsdd-SPEAKER (tested on that one), speech_commands, trec; a"
            " folder CLASS/FILE; or a CSV or TSV file of label and text.",
        ),
    ],
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", help="The run's; the same one again: it goes on.")
    ],
    data_dir: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Of a known data set; else it is downloaded."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(metavar="N", min=1)] = None,
    batch_size: Annotated[int | None, typer.Option(metavar="N", min=1)] = None,
    learning_rate: Annotated[
        float | None, typer.Option(metavar="RATE", help="At its highest.")
    ] = None,
    weight_decay: Annotated[float | None, typer.Option(metavar="RATE", min=0)] = None,
    patience: Annotated[
        int | None,
        typer.Option(metavar="N", help="Stop after N epochs without a better one.", min=1),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N")] = 0,
    image_size: Annotated[
        int | None, typer.Option(metavar="N", help="Pixels of a side.", min=8)
    ] = None,
    grey: Annotated[bool, typer.Option(help="Images without colour.")] = False,
    flip: Annotated[bool, typer.Option(help="Left and right may be swapped.")] = True,
    unit: Annotated[
        Literal["word", "character"] | None,
        typer.Option(
            metavar="UNIT",
            help="Of texts: word, or character (Chinese); else what the network's paper takes.",
        ),
    ] = None,
    word_vectors: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="What words start from: word2vec's .bin, GloVe's .txt or fastText's .vec.",
        ),
    ] = None,
    features: Annotated[
        Literal["log-mel", "mfcc", "spectrogram"],
        typer.Option(metavar="FEATURES", help="Of sounds: log-mel, mfcc or spectrogram."),
    ] = "log-mel",
    feature_option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="Of the features: mel_bands=64, coefficients=10, n_fft, hop_length,"
            " window_length (samples), mel_scale=htk, ...",
        ),
    ] = None,
    sample_rate: Annotated[
        int | None, typer.Option(metavar="HZ", help="Of sounds; others are resampled.", min=1000)
    ] = None,
    augment: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="Of sounds, in training alone: speed=0.1, shift_seconds=0.1, snr_db=[5,30],"
            " time_masks=2, ...",
        ),
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Of the architecture.")
    ] = None,
) -> None:
    """Train a network, and measure it on the test split."""
    options, feature_options, augmentation = (
        dict(key_value(text) for text in texts or []) for texts in (option, feature_option, augment)
    )
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        from pipelines.datasets import DatasetError
        from pipelines.run import RunError, TrainConfig
        from pipelines.train import train
    except ImportError as error:
        fail(f"training needs the extra: pip install 'triptych[cpu,train]' ({error})")
    config = TrainConfig(
        model=model,
        data=data,
        out=out,
        data_dir=data_dir,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        patience=patience,
        seed=seed,
        image_size=image_size,
        grey=grey,
        flip=flip,
        unit=unit,
        features=features,
        feature_options=feature_options,
        sample_rate=sample_rate,
        augment=augmentation,
        word_vectors=word_vectors,
        options=options,
    )
    try:
        train(config)
    except (DatasetError, RunError, ValueError, OSError) as error:
        fail(error)
