"""Leaves out of a serving process what only training needs, and TensorFlow would import anyway.

TensorFlow imports Keras where it is installed, and Keras all that it can work with: pandas, Arrow,
scikit-learn, Matplotlib. None of it runs in a server.
"""

import sys
from types import ModuleType, SimpleNamespace

ABSENT = ("scipy", "h5py")


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
    for name in ABSENT:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # which is an ImportError
