"""Leaves out of a process what libraries import on the chance that it is wanted, for seconds.

TensorFlow imports Keras where it is installed and all that its public names stand for, and Keras
all that it can work with: pandas, scikit-learn, Matplotlib. None of it runs in a server; in a batch
job Arrow does, and would import pandas at its first array, for a second.
"""

import importlib
import sys
import threading
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType, SimpleNamespace
from typing import Any

REFUSED = ("pandas",)
PUBLIC_NAMES = "tensorflow._api.v2."  # modules that list what others define, a thousand in all
# `tensorflow.lite` is one of them, and an empty package that others import parts of, too.
NAMED_TWICE = {f"{PUBLIC_NAMES}{name}": f"tensorflow.{name}" for name in ("distribute", "lite")}
KERAS_CAN_WORK_WITH = ("matplotlib", "pandas", "sklearn")


def import_less() -> None:
    """Of this process, for good: TensorFlow's public names are looked up where they are used, and
    Keras does not find what it works with. What is imported stays, and all can be imported."""
    if not any(isinstance(finder, _ImportingLess) for finder in sys.meta_path):
        sys.meta_path.insert(0, _ImportingLess())


def leave_out_training() -> None:
    """Of this process, for good: before TensorFlow is imported. What is imported stays."""
    import_less()
    if "keras" not in sys.modules:
        # Not simply absent: OpenVINO asks whether what it converts is a model of Keras's.
        keras = ModuleType("keras", "Of which nothing is an instance.")
        keras.__dict__.update(
            __version__="3.0.0",
            Model=type("Model", (), {}),
            layers=SimpleNamespace(Layer=type("Layer", (), {})),
        )
        sys.modules["keras"] = sys.modules["keras._tf_keras.keras"] = keras
    sys.meta_path.insert(0, _Refusing())


class _Refusing(MetaPathFinder):
    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name in REFUSED:
            raise ModuleNotFoundError(f"{name} is left out of this process", name=name)


class _ImportingLess(MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not name.startswith(PUBLIC_NAMES) and name != "keras":
            return None
        if name in NAMED_TWICE:  # it takes the name of the other one, which must not come later
            importlib.import_module(NAMED_TWICE[name])
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = (_Alone if name == "keras" else _AtFirstUse)(spec.loader)
        return spec


class _Alone(Loader):
    """A module that does not find what it would import as well."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def exec_module(self, module: ModuleType) -> None:
        hidden = [name for name in KERAS_CAN_WORK_WITH if name not in sys.modules]
        sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
        try:
            self._loader.exec_module(module)
        finally:
            for name in hidden:
                sys.modules.pop(name, None)


class _AtFirstUse(Loader):
    """A module that runs when one of its names is asked for. Python's own LazyLoader also runs it
    for those that each module has, as inspect does, and is not safe in 3.11.7 where two threads
    ask."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def exec_module(self, module: ModuleType) -> None:
        lock, begun = threading.RLock(), False

        def run() -> dict[str, Any]:
            nonlocal begun
            with lock:
                if not begun:
                    begun = True
                    self._loader.exec_module(module)
            return module.__dict__

        def find(name: str) -> Any:
            if name not in run():
                raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
            return module.__dict__[name]

        module.__dict__.update(__getattr__=find, __dir__=lambda: sorted(run()))  # PEP 562
