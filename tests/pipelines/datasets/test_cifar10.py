"""CIFAR-10 from batches pickled as Python 2 pickled the originals, opcode for opcode."""

import io
import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.datasets import DatasetError, load_dataset

LABELS = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
NAMES = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]


def python2_pickle(value) -> bytes:
    """Protocol 2 with byte strings, and NumPy's old module name: what no Python 3 writes."""
    return b"\x80\x02" + _opcodes(value) + b"."


def _opcodes(value) -> bytes:
    match value:
        case bytes():
            short = len(value) < 256
            size = struct.pack("<B", len(value)) if short else struct.pack("<i", len(value))
            return (b"U" if short else b"T") + size + value
        case int():
            return b"J" + struct.pack("<i", value)
        case list():
            return b"](" + b"".join(map(_opcodes, value)) + b"e"
        case dict():
            return b"}(" + b"".join(_opcodes(x) for item in value.items() for x in item) + b"u"
        case np.ndarray():
            rows, columns = map(_opcodes, value.shape)
            dtype = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNN"
            dtype += b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
            return (
                b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
                + (b"(K\x01" + rows + columns + b"\x86" + dtype + b"\x89")
                + (_opcodes(value.tobytes()) + b"tb")
            )
    raise TypeError(type(value))


def make_batches() -> dict[str, dict[bytes, object]]:
    random = np.random.default_rng(0)
    return {
        name: {
            b"batch_label": name.encode(),
            b"labels": [i % 10 for i in range(20)],
            b"data": random.integers(0, 256, (20, 3072), np.uint8),
            b"filenames": [b"leptodactylus_pentadactylus_s_000004.png"] * 20,
        }
        for name in NAMES
    }


def write_archive(folder: Path, contents: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(folder / "cifar-10-python.tar.gz", "w:gz") as tar:
        for name, data in contents.items():
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def write_unpacked(folder: Path, contents: dict[str, bytes]) -> None:
    (folder / "cifar-10-batches-py").mkdir(parents=True)
    for name, data in contents.items():
        (folder / "cifar-10-batches-py" / name).write_bytes(data)


@pytest.mark.parametrize("write", [write_archive, write_unpacked])
@pytest.mark.parametrize("inside", ["", "cifar10"])
def test_the_original_becomes_lossless_files(tmp_path, write, inside):
    contents = {name: python2_pickle(batch) for name, batch in make_batches().items()}
    write(tmp_path / inside, contents)
    dataset = load_dataset("cifar10", tmp_path)
    assert (dataset.domain, list(dataset.labels), dataset.skipped) == ("image", LABELS, [])
    sizes = [len(s) for s in (dataset.train, dataset.validation, dataset.test)]
    assert sizes == [90, 10, 20]

    # What pickle itself reads, arranged as the data set's page says: 1,024 red values row by row,
    # then green, then blue.
    expected = {"train": [], "test": []}
    for name in NAMES:
        batch = pickle.loads(contents[name], encoding="bytes")
        for row, class_id in zip(batch[b"data"], batch[b"labels"], strict=True):
            planes = [row[i * 1024 : (i + 1) * 1024].reshape(32, 32) for i in range(3)]
            split = "test" if name == "test_batch" else "train"
            expected[split].append((np.stack(planes, axis=-1), class_id))
    for split, examples in (("train", dataset.train + dataset.validation), ("test", dataset.test)):
        assert len(examples) == len(expected[split])
        for file, class_id in examples:
            image, expected_id = expected[split][int(file.stem)]
            np.testing.assert_array_equal(np.asarray(Image.open(file)), image)
            assert class_id == expected_id


def test_it_is_written_once(tmp_path):
    write_archive(tmp_path, {n: python2_pickle(batch) for n, batch in make_batches().items()})
    first = load_dataset("cifar10", tmp_path)
    (tmp_path / "cifar-10-python.tar.gz").unlink()
    assert load_dataset("cifar10", tmp_path) == first


def test_files_in_class_folders(tmp_path):
    for split, count in (("train", 10), ("test", 1)):
        for label in LABELS:
            (tmp_path / split / label).mkdir(parents=True)
            for i in range(count):
                (tmp_path / split / label / f"{i:04d}.jpg").touch()
    dataset = load_dataset("cifar10", tmp_path)
    assert [len(s) for s in (dataset.train, dataset.validation, dataset.test)] == [90, 10, 10]
    assert [Path(e.source).parent.name for e in dataset.test] == LABELS

    (tmp_path / "test" / "cat" / "0000.jpg").unlink()
    with pytest.raises(DatasetError, match="no image files for cat"):
        load_dataset("cifar10", tmp_path)
    (tmp_path / "test" / "lion").mkdir()
    with pytest.raises(DatasetError, match="doesn't know: lion"):
        load_dataset("cifar10", tmp_path)


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    victim = tmp_path / "made by the pickle"
    attack = b"cos\nmkdir\n(S" + repr(str(victim)).encode() + b"\ntR."
    pickle.loads(attack)  # it is one
    victim.rmdir()
    write_archive(tmp_path / "data", dict.fromkeys(NAMES, attack))
    with pytest.raises(DatasetError, match=r"asks for os\.mkdir: refused"):
        load_dataset("cifar10", tmp_path / "data")
    assert not victim.exists()
    assert [p.name for p in (tmp_path / "data").iterdir()] == ["cifar-10-python.tar.gz"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("data_batch_3"), "has no data_batch_3"),
        (lambda c: c.update(data_batch_3=c["data_batch_3"][:-40000]), "data_batch_3 is damaged"),
        (lambda c: c.update(data_batch_3=python2_pickle([1])), "data_batch_3 is damaged"),
        (
            lambda c: c.update(
                test_batch=python2_pickle({b"labels": [10], b"data": np.zeros((1, 3072), np.uint8)})
            ),
            "test_batch is damaged.*0-9",
        ),
    ],
    ids=["batch-missing", "truncated", "not-a-dict", "label-10"],
)
def test_a_damaged_original_leaves_nothing(tmp_path, change, message):
    contents = {name: python2_pickle(batch) for name, batch in make_batches().items()}
    change(contents)
    write_archive(tmp_path, contents)
    with pytest.raises(DatasetError, match=message):
        load_dataset("cifar10", tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["cifar-10-python.tar.gz"]


def test_a_truncated_archive_leaves_nothing(tmp_path):
    write_archive(tmp_path, {n: python2_pickle(batch) for n, batch in make_batches().items()})
    archive = tmp_path / "cifar-10-python.tar.gz"
    archive.write_bytes(archive.read_bytes()[:100_000])
    with pytest.raises(DatasetError, match="the archive is damaged, download it again"):
        load_dataset("cifar10", tmp_path)
    assert list(tmp_path.iterdir()) == [archive]


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(DatasetError, match=r"no CIFAR-10 in .*cifar-10-python\.tar\.gz"):
        load_dataset("cifar10", tmp_path)
