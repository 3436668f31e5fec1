"""Raw examples, labels and splits: known data sets by name, a person's own by path.

Listing only: no file is decoded here, and none is shuffled.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from . import cifar10, folder, fsdd, measuring, mnist, speech_commands, table, trec
from .dataset import Dataset, Example, Skipped
from .download import download
from .errors import DatasetError
from .measuring import Labelled

__all__ = [
    "DATASETS",
    "Dataset",
    "DatasetError",
    "Example",
    "Labelled",
    "Skipped",
    "load_dataset",
    "load_labelled",
]

DATASETS: dict[str, Callable[[Path, int], Dataset]] = {
    "cifar10": cifar10.load,
    "fsdd": fsdd.load,
    **{f"fsdd-{name}": partial(fsdd.load, unheard=name) for name in fsdd.SPEAKERS},
    "mnist": mnist.load,
    "speech_commands": speech_commands.load,
    "trec": trec.load,
}
ORIGINALS = {
    "cifar10": cifar10.ORIGINALS,
    "fsdd": fsdd.ORIGINALS,
    "mnist": mnist.ORIGINALS,
    "speech_commands": speech_commands.ORIGINALS,
    "trec": trec.ORIGINALS,
}


def load_dataset(
    data: str, data_dir: Path | None = None, *, seed: int = 0, cache: Path = Path("data")
) -> Dataset:
    """Lists a data set.

    Args:   data: a known name, or a path to one's own folder or table (write `./mnist` for a
              folder that has a known name).
            data_dir: where a known data set lies: its folder, or the parent of one with its name.
              Without it, the originals are downloaded to `cache/NAME`.
            seed: of the splits that the data doesn't bring.
    Raises: DatasetError if the data can't be used.
    """
    if data in DATASETS:
        source = data.partition("-")[0]  # of fsdd-SPEAKER, a split of its own
        return DATASETS[data](_known_folder(source, data_dir, cache), seed)
    path = _own(data, data_dir)
    return folder.load(path, seed) if path.is_dir() else table.load(path, seed)


def load_labelled(
    data: str, data_dir: Path | None = None, *, cache: Path = Path("data")
) -> Labelled:
    """Lists what to measure a model on: the test split that the data bring, or else all of them.

    Args:   as of `load_dataset`.
    Raises: DatasetError if the data can't be used.
    """
    if data in DATASETS:
        return measuring.of_dataset(load_dataset(data, data_dir, cache=cache))
    return measuring.of_path(_own(data, data_dir))


def _own(data: str, data_dir: Path | None) -> Path:
    path = Path(data)
    if data_dir is not None:
        raise DatasetError(
            f"--data-dir is for the known data sets ({', '.join(DATASETS)}), and {data!r} is none: "
            "give the path of your own data alone"
        )
    if not path.is_dir() and not path.is_file():
        raise DatasetError(
            f"unknown data {data!r}: neither a known name ({', '.join(DATASETS)}) nor a folder of "
            "CLASS/file nor a .csv or .tsv file"
        )
    return path


def _known_folder(name: str, data_dir: Path | None, cache: Path) -> Path:
    if data_dir is None:
        return download(name, ORIGINALS[name], cache / name)
    if not data_dir.is_dir():
        raise DatasetError(f"no folder {data_dir}: --data-dir takes the folder of {name}")
    return data_dir / name if (data_dir / name).is_dir() else data_dir
