"""PyTorch's file formats, written without PyTorch."""

import io
import pickle
import struct
import sys
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

STORAGES = {"f8": "DoubleStorage", "f4": "FloatStorage", "f2": "HalfStorage", "i8": "LongStorage"}
MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


class Called:
    """Pickled as the call of a function by its name, whatever it is."""

    def __init__(self, function: Any, *arguments: Any):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


class Stored:
    """A storage, pickled by reference."""

    def __init__(self, key: str, array: np.ndarray):
        self.key, self.array = key, array.ravel()


class TorchFormats:
    """What torch.save writes (torch/serialization.py), byte order and all.

    `content` may hold arrays, at any depth; the functions that rebuild them are named as in
    PyTorch. `call` puts any other call into the pickle.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self._monkeypatch = monkeypatch
        self.rebuild = self.function("torch._utils", "_rebuild_tensor_v2")
        self._types = {kind: self.function("torch", name) for kind, name in STORAGES.items()}

    def function(self, module: str, name: str) -> Any:
        """Something that pickles as module.name."""
        if module not in sys.modules or not hasattr(sys.modules[module], name):
            found = sys.modules.get(module) or types.ModuleType(module)
            self._monkeypatch.setitem(sys.modules, module, found)
            made = type(name, (), {"__module__": module, "__qualname__": name})
            self._monkeypatch.setattr(found, name, made, raising=False)
        return getattr(sys.modules[module], name)

    def call(self, module: str, name: str, *arguments: Any) -> Called:
        return Called(self.function(module, name), *arguments)

    def tensor(self, array: np.ndarray, key: str, offset=0, size=None, stride=None) -> Called:
        size = array.shape if size is None else size
        strides = tuple(s // array.itemsize for s in array.strides) if stride is None else stride
        return Called(self.rebuild, Stored(key, array), offset, size, strides, False, {})

    def _pickle(self, content: Any, view: tuple) -> tuple[bytes, dict[str, np.ndarray]]:
        stored: dict[str, np.ndarray] = {}
        kinds = self._types

        class Pickler(pickle.Pickler):
            def persistent_id(self, value):
                if not isinstance(value, Stored):
                    return None
                stored[value.key] = value.array
                kind = kinds[value.array.dtype.str[1:]]
                return ("storage", kind, value.key, "cpu", value.array.size, *view)

        buffer = io.BytesIO()
        Pickler(buffer, protocol=2).dump(self._with_tensors(content))
        return buffer.getvalue(), stored

    def _with_tensors(self, content: Any) -> Any:
        if isinstance(content, np.ndarray):
            return self.tensor(content, str(id(content)))
        if isinstance(content, dict):
            return {key: self._with_tensors(value) for key, value in content.items()}
        return content

    def zipped(self, path: Path, content: Any, compression=zipfile.ZIP_STORED) -> Path:
        pickled, stored = self._pickle(content, ())
        with zipfile.ZipFile(path, "w", compression) as archive:
            archive.writestr("archive/data.pkl", pickled)
            archive.writestr("archive/byteorder", "little")
            for key, array in stored.items():
                archive.writestr(f"archive/data/{key}", array.tobytes())
            archive.writestr("archive/version", "3\n")
        return path

    def legacy(self, path: Path, content: Any) -> Path:
        pickled, stored = self._pickle(content, (None,))
        parts = [pickle.dumps(MAGIC, 2), pickle.dumps(PROTOCOL, 2), pickle.dumps({}, 2), pickled]
        parts.append(pickle.dumps(list(stored), 2))
        parts += [struct.pack("<q", a.size) + a.tobytes() for a in stored.values()]
        path.write_bytes(b"".join(parts))
        return path


@pytest.fixture
def torch_formats(monkeypatch: pytest.MonkeyPatch) -> TorchFormats:
    return TorchFormats(monkeypatch)


Writer = Callable[[Path, Any], Path]


@pytest.fixture(params=["zipped", "legacy"])
def write(request: pytest.FixtureRequest, torch_formats: TorchFormats) -> Writer:
    """Writes in the one format, then in the other."""
    return getattr(torch_formats, request.param)
