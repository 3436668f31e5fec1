"""What is measured: untrained networks, exported as any other, and the models that are shipped.

Weights don't change the speed. `python -m benchmarks.networks REPOSITORY NAME...` makes them.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from triptych.loadgen.examples import jpeg

ROOT = Path(__file__).parent.parent
SHIPPED = {"digits": "*.wav", "questions": "*.txt"}  # and the samples that they are asked with
SIDES = {"resnet20": 32}  # the others: 224, as in their papers
CLASSES = {"resnet20": 10}  # the others: 1000
FILES = 8


def side(name: str) -> int:
    return SIDES.get(name, 224)


def publish(repository: Path, names: Sequence[str]) -> None:
    """In a process of its own, so that TensorFlow's memory is given back."""
    if all((repository / name).exists() for name in names):
        return
    command = [sys.executable, "-m", "benchmarks.networks", str(repository), *names]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}:\n{done.stderr[-2000:]}")


def files(name: str, folder: Path) -> list[Path]:
    """Encoded inputs: pictures of the network's own size are written there."""
    if name in SHIPPED:
        return sorted((ROOT / "samples").glob(SHIPPED[name]))
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{side(name)}-{seed}.jpg" for seed in range(FILES)]
    for seed, path in enumerate(paths):
        path.write_bytes(jpeg(side(name), side(name), seed))
    return paths


def _publish(repository: Path, name: str) -> None:
    if (repository / name).exists():
        return
    if name in SHIPPED:
        shutil.copytree(ROOT / "model_repository" / name, repository / name)
        return
    import keras

    from models import create_model
    from models.surgery import recalibrate_batch_norm
    from pipelines.export import write_version
    from pipelines.preprocessing import ImagePreprocessing
    from protos.triptych.v1 import manifest_pb2

    keras.utils.set_random_seed(0)
    classes, size = CLASSES.get(name, 1000), side(name)
    network = create_model(name, classes)
    inputs = ImagePreprocessing(size, size)
    pictures = [inputs.preprocess(inputs.decode(jpeg(size, size, seed))) for seed in range(FILES)]
    # Numbers as a trained network's: else they grow with each layer, and rounding errors with them.
    recalibrate_batch_norm(network, [keras.ops.stack(pictures)])
    manifest = manifest_pb2.Manifest(name=name, labels=[f"class {k}" for k in range(classes)])
    manifest.command = "untrained, to be measured"
    golden = [jpeg(size, size, seed) for seed in (0, 1)]
    write_version(network, inputs, golden, manifest, repository, {"explain": True})


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for given in sys.argv[2:]:
        _publish(Path(sys.argv[1]), given)
