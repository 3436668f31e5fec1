"""Leaves out of a serving process what only training needs, and TensorFlow would import anyway.

TensorFlow imports Keras where it is installed, and Keras all that it can work with: pandas, Arrow,
scikit-learn, Matplotlib. None of it runs in a server.
"""

import sys

TRAINING = ("keras", "scipy", "h5py")


def leave_out_training() -> None:
    """Of this process, for good: before TensorFlow is imported. What is imported stays."""
    for name in TRAINING:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # as absent: ImportError
