"""MNIST: 70,000 handwritten digits, 28x28 grey.

Source:   http://yann.lecun.com/exdb/mnist/ (downloaded from the CVDF mirror)
Citation: LeCun et al. 1998, Gradient-based learning applied to document recognition.
Licence:  none stated; the authors ask to be cited.
Split:    the official 60,000 / 10,000; of the first, a stratified tenth for validation.
Layouts:  the four IDX files, with or without `.gz` (written once as lossless PNG files to
          `mnist-png/`), or `train/DIGIT/file` and `test/DIGIT/file`.
"""

import gzip
import struct
from pathlib import Path

import numpy as np
from PIL import Image
from rich.progress import track

from .dataset import Dataset, Skipped
from .download import Original
from .errors import DatasetError
from .listing import list_split
from .splitting import hold_out
from .unpack import write_once

LABELS = tuple("0123456789")
MIRROR = "https://storage.googleapis.com/cvdf-datasets/mnist"
ORIGINALS = (  # checksums: tensorflow/datasets, tensorflow_datasets/url_checksums/mnist.txt
    Original(
        f"{MIRROR}/train-images-idx3-ubyte.gz",
        "sha256:440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    ),
    Original(
        f"{MIRROR}/train-labels-idx1-ubyte.gz",
        "sha256:3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    ),
    Original(
        f"{MIRROR}/t10k-images-idx3-ubyte.gz",
        "sha256:8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    ),
    Original(
        f"{MIRROR}/t10k-labels-idx1-ubyte.gz",
        "sha256:f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ),
)
PREFIXES = {"train": "train", "test": "t10k"}
UNSIGNED_BYTES = 0x08  # the type code in an IDX file's magic number


def load(folder: Path, seed: int) -> Dataset:
    """Raises: DatasetError if the folder has none of the layouts above."""
    root = folder if (folder / "train").is_dir() else _write_png(folder)
    skipped: list[Skipped] = []
    train, test = (
        list_split(root / split, LABELS, "image", root, skipped) for split in ("train", "test")
    )
    train, validation = hold_out(train, 1 / 10, seed)
    return Dataset(
        name="mnist",
        domain="image",
        labels=LABELS,
        train=train,
        validation=validation,
        test=test,
        origin="http://yann.lecun.com/exdb/mnist/ (LeCun et al. 1998)",
        licence="none stated; cite LeCun et al. 1998",
        skipped=skipped,
    )


def _write_png(folder: Path) -> Path:
    target = folder / "mnist-png"
    if target.is_dir():
        return target
    arrays = {
        split: (
            _read_idx(folder / f"{prefix}-images-idx3-ubyte", dimensions=3),
            _read_idx(folder / f"{prefix}-labels-idx1-ubyte", dimensions=1),
        )
        for split, prefix in PREFIXES.items()
    }
    with write_once(target) as unfinished:
        for split, (images, digits) in arrays.items():
            if len(images) != len(digits) or digits.max(initial=0) > 9:
                raise DatasetError(
                    f"MNIST {split} in {folder}: {len(images)} images, {len(digits)} labels up to "
                    f"{digits.max(initial=0)}: not of one set, download the four files again"
                )
            for digit in LABELS:
                (unfinished / split / digit).mkdir(parents=True)
            pairs = zip(images, digits, strict=True)
            shown = track(pairs, f"MNIST {split} as PNG", total=len(images), transient=True)
            for i, (image, digit) in enumerate(shown):  # i: the number in the official order
                Image.fromarray(image).save(unfinished / split / str(digit) / f"{i:05d}.png")
    return target


def _read_idx(path: Path, dimensions: int) -> np.ndarray:
    """Reads `path` or `path.gz`: big-endian magic number, sizes, then bytes (LeCun's page)."""
    packed = path.with_name(f"{path.name}.gz")
    if not path.is_file() and not packed.is_file():
        raise DatasetError(
            f"no MNIST in {path.parent}: expected {packed.name} and its three companions, "
            "or train/DIGIT/file and test/DIGIT/file"
        )
    try:
        data = path.read_bytes() if path.is_file() else gzip.decompress(packed.read_bytes())
        zero, type_code, found, *sizes = struct.unpack_from(f">HBB{dimensions}I", data)
        array = np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions).reshape(sizes)
    except (OSError, EOFError, ValueError, struct.error) as error:
        raise DatasetError(f"{path} is damaged: {error}; download it again") from error
    if (zero, type_code, found) != (0, UNSIGNED_BYTES, dimensions):
        raise DatasetError(f"{path} isn't an IDX file of {dimensions}-dimensional bytes")
    return array
