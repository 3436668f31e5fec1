"""CIFAR-10: 60,000 colour photographs of 32x32 pixels, 10 classes.

Source:   https://www.cs.toronto.edu/~kriz/cifar.html
Citation: Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images.
Licence:  none stated; the authors ask to be cited.
Split:    the official 50,000 / 10,000; of the first, a stratified tenth for validation (the
          45,000 / 5,000 of He et al. 2015, section 4.2).
Layouts:  `cifar-10-python.tar.gz` or its folder `cifar-10-batches-py` (written once as lossless
          PNG files to `cifar10-png/`), or `train/CLASS/file` and `test/CLASS/file`.
"""

import io
import pickle
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image
from rich.progress import track

from .dataset import Dataset, Skipped
from .download import Original
from .errors import DatasetError
from .listing import list_split
from .splitting import hold_out
from .unpack import write_once

LABELS = (  # the official order (batches.meta)
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
ORIGINALS = (
    Original(  # checksum: keras-team/keras, keras/src/datasets/cifar10.py
        "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        "sha256:6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    ),
)
ARCHIVE = "cifar-10-python.tar.gz"
BATCHES = {**{f"data_batch_{i}": "train" for i in range(1, 6)}, "test_batch": "test"}


def load(folder: Path, seed: int) -> Dataset:
    """Raises: DatasetError if the folder has none of the layouts above."""
    root = folder if (folder / "train").is_dir() else _write_png(folder)
    skipped: list[Skipped] = []
    train, test = (
        list_split(root / split, LABELS, "image", root, skipped) for split in ("train", "test")
    )
    train, validation = hold_out(train, 1 / 10, seed)
    return Dataset(
        name="cifar10",
        domain="image",
        labels=LABELS,
        train=train,
        validation=validation,
        test=test,
        origin="https://www.cs.toronto.edu/~kriz/cifar.html (Krizhevsky 2009)",
        licence="none stated; cite Krizhevsky 2009",
        skipped=skipped,
    )


def _write_png(folder: Path) -> Path:
    target = folder / "cifar10-png"
    if target.is_dir():
        return target
    counts = {"train": 0, "test": 0}
    with write_once(target) as unfinished:
        for split in counts:
            for label in LABELS:
                (unfinished / split / label).mkdir(parents=True)
        batches = track(
            _read_batches(folder), "CIFAR-10 as PNG", total=len(BATCHES), transient=True
        )
        for split, images, class_ids in batches:
            for image, class_id in zip(images, class_ids, strict=True):
                name = f"{counts[split]:05d}.png"  # the example's number in the official order
                Image.fromarray(image).save(unfinished / split / LABELS[class_id] / name)
                counts[split] += 1
    return target


def _read_batches(folder: Path) -> Iterator[tuple[str, np.ndarray, list[int]]]:
    """Each batch as (split, uint8 [N, 32, 32, 3], class numbers)."""
    unpacked = folder / "cifar-10-batches-py"
    if unpacked.is_dir():
        for name, split in BATCHES.items():
            yield split, *_unpickle((unpacked / name).read_bytes(), name)
    elif (folder / ARCHIVE).is_file():
        with tarfile.open(folder / ARCHIVE) as tar:
            for name, split in BATCHES.items():
                try:
                    member = tar.extractfile(f"cifar-10-batches-py/{name}")
                except KeyError:
                    member = None
                if member is None:
                    raise DatasetError(f"{folder / ARCHIVE} has no {name}: download it again")
                yield split, *_unpickle(member.read(), name)
    else:
        raise DatasetError(
            f"no CIFAR-10 in {folder}: expected {ARCHIVE}, cifar-10-batches-py/, "
            "or train/CLASS/file and test/CLASS/file"
        )


def _unpickle(data: bytes, name: str) -> tuple[np.ndarray, list[int]]:
    try:
        batch = _BatchUnpickler(io.BytesIO(data), encoding="bytes").load()
        images, class_ids = batch[b"data"], [int(c) for c in batch[b"labels"]]
        images = images.reshape(len(class_ids), 3, 32, 32).transpose(0, 2, 3, 1)
        if images.dtype != np.uint8 or not set(class_ids) <= set(range(len(LABELS))):
            raise ValueError("not bytes with class numbers 0-9")
    except DatasetError:
        raise
    except Exception as error:  # a damaged pickle raises nearly anything
        raise DatasetError(
            f"CIFAR-10 batch {name} is damaged: {error!r}; download it again"
        ) from error
    return np.ascontiguousarray(images), class_ids


class _BatchUnpickler(pickle.Unpickler):
    """Reads a pickled dict of arrays, and calls nothing but NumPy's array constructors."""

    ALLOWED: ClassVar = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise DatasetError(
                f"a CIFAR-10 batch asks for {module}.{name}: refused, it is not the original; "
                "download it again"
            )
        return self.ALLOWED[module, name]
