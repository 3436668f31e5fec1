"""Filters that move along frequency, along time, or both, on digits: equal in weights.

What Abdel-Hamid 2014 (section III) and Lee's lecture have of them: a higher voice moves the
pattern up, so filters that move along frequency bear it, and moving along time is of no use. Each
network has as many weights, and takes the maximum over all places. One speaker is left out in
turn; the others' new takes are heard at their own pitch, and two semitones up and down.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import librosa
import numpy as np
import tensorflow as tf
from keras import layers
from matplotlib.figure import Figure
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from benchmarks.ideas.plots import of, points
from benchmarks.ideas.training import CLASSES, Data, Row, Scale, accuracy, conv_norm, say, train
from pipelines.datasets import load_dataset
from pipelines.datasets.fsdd import SPEAKERS
from pipelines.examples import decoded
from pipelines.preprocessing import AudioPreprocessing

RATE_HZ = 8000
FRAMES, BANDS = 64, 40  # 0.64 s, as long as most digits; 25 ms windows each 10 ms
SEMITONES = (-2, 2)
TRAINED = ("theo", "lucas", "jackson")  # left out of the networks' training, in turn; the SVMs: all
SCALE = Scale(train=10_000, test=10_000, epochs=8, seeds=(0,))


class Clips(NamedTuple):
    waveforms: Sequence[np.ndarray]  # float32 [N] of any length
    digits: np.ndarray


class Fold(NamedTuple):
    unheard: str
    train: Clips
    heard: Clips  # new takes of those that training has
    other: Clips  # all of the one that it hasn't


class Kind(NamedTuple):
    filters: tuple[int, int, int]
    kernels: tuple[tuple[int, int], ...]  # frames, bands
    pool: tuple[int, int]


# fmt: off
KINDS = {  #               filters        kernels                              pool
    "along frequency": Kind((32, 64, 64), ((FRAMES, 8), (1, 5), (1, 3)),       (1, 2)),
    "along time":      Kind((42, 62, 64), ((8, BANDS), (5, 1), (3, 1)),        (2, 1)),
    "both":            Kind((16, 40, 90), ((5, 5), (3, 3), (3, 3)),            (2, 2)),
}
# fmt: on


def load(data_dir: Path | None, scale: Scale) -> list[Fold]:
    spec = AudioPreprocessing({"sample_rate_hz": RATE_HZ}).spec()

    def clips(examples) -> Clips:
        chosen = examples[: scale.train]
        return Clips([decoded(e, spec) for e in chosen], np.array([e.class_id for e in chosen]))

    folds = []
    for speaker in SPEAKERS:
        data = load_dataset(f"fsdd-{speaker}", data_dir)
        folds.append(Fold(speaker, clips(data.train), clips(data.validation), clips(data.test)))
    return folds


def network(kind: Kind) -> keras.Model:
    """Of a kind that moves along one axis, the first filters cover all of the other."""
    spectrograms = x = layers.Input((FRAMES, BANDS, 1))
    for number, (filters, kernel) in enumerate(zip(kind.filters, kind.kernels, strict=True)):
        if number == 0 and kind.pool != (2, 2):
            x = layers.Conv2D(filters, kernel, use_bias=False, kernel_initializer="he_normal")(x)
            x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
        else:
            x = conv_norm(x, filters, kernel)
        x = layers.MaxPooling2D(kind.pool)(x) if number < 2 else x
    x = layers.Dropout(0.3)(layers.GlobalMaxPooling2D()(x))
    return keras.Model(spectrograms, layers.Dense(CLASSES)(x))


def run(folds: list[Fold], scale: Scale, trained: Sequence[str] = TRAINED) -> list[Row]:
    rows = []
    for fold in folds:
        rows += [{"network": name, "unheard": fold.unheard, **row} for name, row in svms(fold)]
        for row in rows[-2:]:
            say(row)
        if fold.unheard in trained:
            rows += of_networks(fold, scale)
    return rows


def of_networks(fold: Fold, scale: Scale) -> list[Row]:
    inputs = AudioPreprocessing(
        {"sample_rate_hz": RATE_HZ, "window_length": RATE_HZ // 40, "hop_length": RATE_HZ // 100}
    ).fit(fold.train.waveforms)
    preprocess = tf.function(inputs.preprocess, [inputs.decoded_spec])

    def spectrograms(waveforms: Sequence[np.ndarray]) -> np.ndarray:
        return np.stack([fitted(preprocess(tf.constant(w)).numpy()) for w in waveforms])

    heard, other = spectrograms(fold.heard.waveforms), spectrograms(fold.other.waveforms)
    data = Data(spectrograms(fold.train.waveforms), fold.train.digits, heard, fold.heard.digits)
    shifted = {
        f"{steps:+d}": spectrograms([pitched(w, steps) for w in fold.heard.waveforms])
        for steps in SEMITONES
    }
    rows = []
    for seed in scale.seeds:
        for name, kind in KINDS.items():
            net, row = train(
                lambda kind=kind: network(kind),
                data,
                scale.epochs,
                seed,
                network=name,
                unheard=fold.unheard,
            )
            row |= {
                "heard": row["test_accuracy"],
                "other": accuracy(net, other, fold.other.digits),
                **{f"heard_{k}": accuracy(net, x, fold.heard.digits) for k, x in shifted.items()},
            }
            say({"unheard speaker": row["other"], **{k: row[f"heard_{k}"] for k in shifted}})
            rows.append(row)
    return rows


def fitted(frames: np.ndarray) -> np.ndarray:
    """The middle FRAMES of them, or all with the mean around.  [T, F] -> [FRAMES, F, 1]"""
    missing = max(0, FRAMES - len(frames))
    frames = np.pad(frames, ((missing // 2, missing - missing // 2), (0, 0)))
    first = (len(frames) - FRAMES) // 2
    return frames[first : first + FRAMES, :, None]


def pitched(waveform: np.ndarray, semitones: int) -> np.ndarray:
    """As long as before, by librosa's phase vocoder."""
    return librosa.effects.pitch_shift(waveform, sr=RATE_HZ, n_steps=semitones, n_fft=512)


def svms(fold: Fold) -> list[tuple[str, dict[str, Any]]]:
    """What no convolution reaches: two support vector machines, by scikit-learn."""
    found = []
    for name, describe in (("SVM, MFCC means", mfcc_means), ("SVM, 32 frames", resized)):
        machine = make_pipeline(StandardScaler(), SVC(C=10))
        machine.fit([describe(w) for w in fold.train.waveforms], fold.train.digits)
        scores = {
            key: round(machine.score([describe(w) for w in clips.waveforms], clips.digits), 4)
            for key, clips in (("heard", fold.heard), ("other", fold.other))
        }
        found.append((name, scores))
    return found


def mfcc_means(waveform: np.ndarray) -> np.ndarray:
    """Mean and deviation over time of 20 coefficients.  [N] -> [40]"""
    found = librosa.feature.mfcc(y=waveform, sr=RATE_HZ, n_fft=256, hop_length=80, n_mels=40)
    return np.concatenate([found.mean(axis=1), found.std(axis=1)])


def resized(waveform: np.ndarray) -> np.ndarray:
    """A log-mel spectrogram less its bands' means, stretched to 32 frames.  [N] -> [32 * 40]"""
    power = librosa.feature.melspectrogram(
        y=waveform, sr=RATE_HZ, n_fft=256, hop_length=80, n_mels=BANDS
    )
    frames = librosa.power_to_db(power)
    frames -= frames.mean(axis=1, keepdims=True)
    places = np.linspace(0, frames.shape[1] - 1, 32)
    return np.concatenate([np.interp(places, np.arange(frames.shape[1]), band) for band in frames])


def draw(rows: list[Row], figure: Figure) -> None:
    axis = figure.subplots()
    networks = [row for row in rows if "seed" in row]
    keys = ("heard", *(f"heard_{steps:+d}" for steps in SEMITONES), "other")
    points(axis, networks, "network", *keys)
    folds = dict.fromkeys(row["unheard"] for row in networks)
    level = np.mean([of(rows, network="SVM, 32 frames", unheard=f)[0]["other"] for f in folds])
    axis.axhline(100 * level, color="black", linewidth=0.8, linestyle="--")
    axis.text(-0.48, 100 * level + 1, "SVM, speaker not heard", fontsize=8)
    axis.set_ylabel("accuracy, %")
    for text, label in zip(
        axis.get_legend().get_texts(),
        ("speakers heard", "-2 semitones", "+2 semitones", "speaker not heard"),
        strict=True,
    ):
        text.set_text(label)
