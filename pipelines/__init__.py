"""Data to artefact, artefact to answers. Serving knows nothing of this package."""

import os

# Before TensorFlow is imported, which leaves oneDNN out on CPUs without AVX-512.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
