"""What runs an artefact, in the server, in batch jobs and in training's checks."""

import os

# Before TensorFlow is imported, which leaves oneDNN out on CPUs without AVX-512.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
