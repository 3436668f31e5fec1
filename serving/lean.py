"""Leaves out of a process that only answers what training needs, and libraries would import anyway.

TensorFlow imports Keras where it is installed, and Keras all that it can work with: pandas, Arrow,
scikit-learn, Matplotlib. None of it runs in a server; in a batch job Arrow does, and would import
pandas at its first array, for a second.
"""

import sys
from importlib.abc import MetaPathFinder
from types import ModuleType, SimpleNamespace

ABSENT = ("scipy", "h5py")
REFUSED = ("pandas",)  # to Arrow's compiled code, what is absent as the others is a module


def leave_out_training() -> None:
    """Of this process, for good: before TensorFlow is imported. What is imported stays."""
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
    for name in ABSENT:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # which is an ImportError


class _Refusing(MetaPathFinder):
    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name in REFUSED:
            raise ModuleNotFoundError(f"{name} is left out of this process", name=name)
