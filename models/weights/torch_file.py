"""A PyTorch weights file -> NumPy arrays, without PyTorch, and without running what is in it.

A .pth, .pt or .th file is a pickle, that is, a program. This reader knows the few calls that
build tensors and plain containers, and refuses every other. Both of PyTorch's layouts are read:
the zip file of 1.6 and later, and the pickles followed by raw numbers of before.
"""

import math
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from models.weights.carry import WeightsError

SUFFIXES = (".pth", ".pt", ".th", ".safetensors")
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
STATE_DICTS = ("state_dict", "model", "model_state_dict")  # what a checkpoint calls it
DTYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "?",
}


def read(path: Path) -> dict[str, np.ndarray]:
    """The state dict of a file, by the parameters' names.

    Raises: WeightsError if it is none, is damaged, or asks for more than tensors; OSError.
    """
    try:
        if path.suffix == ".safetensors":
            state = _read_safetensors(path)
        elif zipfile.is_zipfile(path):
            state = _read_zip(path)
        else:
            state = _read_legacy(path)
    except (WeightsError, OSError):
        raise
    except Exception as error:  # a damaged pickle raises nearly anything
        raise WeightsError(f"{path} is damaged, or no weights of PyTorch: {error!r}") from error
    # DataParallel's wrapper leaves its name before each of them.
    wrapped = all(name.startswith("module.") for name in state)
    return {name.removeprefix("module.") if wrapped else name: a for name, a in state.items()}


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(path)


class _Storage(NamedTuple):
    """Numbers in a row, that lie elsewhere in the file."""

    key: str
    dtype: np.dtype


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def read(self, numbers: np.ndarray) -> np.ndarray:
        if math.prod(self.size) > len(numbers):
            raise WeightsError(f"a tensor of shape {list(self.size)} is larger than its storage")
        item = self.storage.dtype.itemsize
        # NumPy refuses what reaches beyond the buffer.
        return np.ndarray(
            self.size,
            self.storage.dtype,
            buffer=numbers,
            offset=self.offset * item,
            strides=[stride * item for stride in self.stride],
        ).copy()


class _Unpickler(pickle.Unpickler):
    """Builds tensors' places, numbers, texts and containers; calls nothing else."""

    def __init__(self, file: BinaryIO):
        super().__init__(file, encoding="utf-8")
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in DTYPES:
            return name
        allowed: dict[tuple[str, str], Callable] = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch", "Size"): tuple,
            ("torch._utils", "_rebuild_tensor"): self._tensor,
            ("torch._utils", "_rebuild_tensor_v2"): self._tensor,
            ("torch._utils", "_rebuild_parameter"): self._parameter,
        }
        if (module, name) not in allowed:
            raise WeightsError(
                f"the file asks for {module}.{name}, which is refused: only tensors in plain "
                "containers are read. Save its state_dict() alone, best as safetensors"
            )
        return allowed[module, name]

    def persistent_load(self, reference: Any) -> _Storage:
        kind, storage_type, key, _device, _count, *view = reference
        if kind != "storage" or storage_type not in DTYPES or any(view):
            raise WeightsError(f"the file has a {kind} of a kind that is not read here")
        storage = _Storage(str(key), np.dtype(DTYPES[storage_type]))
        return self.storages.setdefault(storage.key, storage)

    def _tensor(self, storage: _Storage, offset: int, size, stride, *_: Any) -> _Tensor:
        if not isinstance(storage, _Storage):
            raise WeightsError("the file has a tensor without storage")
        return _Tensor(storage, offset, tuple(size), tuple(stride))

    def _parameter(self, tensor: _Tensor, *_: Any) -> _Tensor:
        return tensor


def _read_zip(path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        pickled = [n for n in archive.namelist() if n.endswith("/data.pkl")]
        if len(pickled) != 1:
            raise WeightsError(f"{path} is a zip file, but not one of torch.save")
        root = pickled[0].removesuffix("data.pkl")
        if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
            raise WeightsError(f"{path} is compressed, which torch.save never does: refused")
        order = f"{root}byteorder"
        if order in archive.namelist() and archive.read(order) != b"little":
            raise WeightsError(f"{path} was written on a big-endian machine: save it on another")
        with archive.open(pickled[0]) as file:
            tensors = _state_dict(_Unpickler(file).load())
        return {
            name: tensor.read(
                np.frombuffer(
                    archive.read(f"{root}data/{tensor.storage.key}"), tensor.storage.dtype
                )
            )
            for name, tensor in tensors.items()
        }


def _read_legacy(path: Path) -> dict[str, np.ndarray]:
    with path.open("rb") as file:
        if _Unpickler(file).load() != LEGACY_MAGIC:
            raise WeightsError(f"{path} is a pickle, but not one of torch.save")
        _Unpickler(file).load()  # the protocol's version
        _Unpickler(file).load()  # the machine's sizes
        unpickler = _Unpickler(file)
        tensors = _state_dict(unpickler.load())
        numbers = {}
        for key in _Unpickler(file).load():
            dtype = unpickler.storages[key].dtype
            size = struct.unpack("<q", file.read(8))[0] * dtype.itemsize
            if not 0 <= size <= path.stat().st_size - file.tell():
                raise WeightsError(f"{path} is cut off: bring it again")
            numbers[key] = np.frombuffer(file.read(size), dtype)
        return {name: tensor.read(numbers[tensor.storage.key]) for name, tensor in tensors.items()}


def _state_dict(content: Any) -> Mapping[str, _Tensor]:
    """Of a checkpoint, which may hold it beside other things."""
    if _is_state_dict(content):
        return content
    inner = content if isinstance(content, Mapping) else {}
    for name in STATE_DICTS:
        if _is_state_dict(inner.get(name)):
            return inner[name]
    raise WeightsError(
        f"the file holds no state dict, by itself or as {', '.join(STATE_DICTS)}: "
        "save the network's state_dict()"
    )


def _is_state_dict(content: Any) -> bool:
    return (
        isinstance(content, Mapping)
        and bool(content)
        and all(isinstance(k, str) and isinstance(v, _Tensor) for k, v in content.items())
    )
