"""MNIST from IDX files, written here as LeCun's page describes them."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.datasets import DatasetError, load_dataset


def idx(array: np.ndarray) -> bytes:
    """Magic number 0x0000 08 dimensions, big-endian sizes, bytes."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def make_set(count: int) -> tuple[np.ndarray, np.ndarray]:
    images = np.random.default_rng(count).integers(0, 256, (count, 28, 28), np.uint8)
    return images, (np.arange(count) * 7 % 10).astype(np.uint8)


def write_original(
    folder: Path, *, packed: bool = True
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    folder.mkdir(parents=True, exist_ok=True)
    sets = {"train": make_set(100), "t10k": make_set(20)}
    for prefix, (images, digits) in sets.items():
        for name, array in (("images-idx3-ubyte", images), ("labels-idx1-ubyte", digits)):
            if packed:
                (folder / f"{prefix}-{name}.gz").write_bytes(gzip.compress(idx(array), 1))
            else:
                (folder / f"{prefix}-{name}").write_bytes(idx(array))
    return sets


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("inside", ["", "mnist"])
def test_the_original_becomes_lossless_files(tmp_path, packed, inside):
    sets = write_original(tmp_path / inside, packed=packed)
    dataset = load_dataset("mnist", tmp_path)
    assert (dataset.domain, "".join(dataset.labels)) == ("image", "0123456789")
    sizes = [len(s) for s in (dataset.train, dataset.validation, dataset.test)]
    assert sizes == [90, 10, 20]
    for prefix, examples in (
        ("train", dataset.train + dataset.validation),
        ("t10k", dataset.test),
    ):
        images, digits = sets[prefix]
        for file, class_id in examples:
            np.testing.assert_array_equal(np.asarray(Image.open(file)), images[int(file.stem)])
            assert class_id == digits[int(file.stem)] == int(file.parent.name)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train-images-idx3-ubyte.gz", b"not gzip", "damaged"),
        ("train-images-idx3-ubyte.gz", gzip.compress(b"short"), "damaged"),
        ("train-labels-idx1-ubyte.gz", gzip.compress(idx(make_set(99)[1])), "99 labels"),
        ("t10k-labels-idx1-ubyte.gz", gzip.compress(idx(np.full(20, 10, np.uint8))), "up to 10"),
        ("t10k-images-idx3-ubyte.gz", gzip.compress(idx(make_set(20)[0])[:-1]), "damaged"),
        (
            "t10k-labels-idx1-ubyte.gz",
            gzip.compress(struct.pack(">HBBI", 0, 9, 1, 20) + bytes(20)),
            "isn't an IDX file of 1-dimensional bytes",
        ),
    ],
    ids=["not-gzip", "short", "too-few-labels", "label-10", "last-byte-lost", "signed-bytes"],
)
def test_a_damaged_original_leaves_nothing(tmp_path, name, content, message):
    write_original(tmp_path)
    (tmp_path / name).write_bytes(content)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(DatasetError, match=message):
        load_dataset("mnist", tmp_path)
    assert sorted(tmp_path.iterdir()) == before


def test_a_missing_file_is_named(tmp_path):
    write_original(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DatasetError, match=r"no MNIST in .*t10k-labels-idx1-ubyte\.gz"):
        load_dataset("mnist", tmp_path)
