"""What trained networks reach, as a table: one line a run, of sounds and texts.

    python -m benchmarks.accuracy runs/* --data-dir data     # as docs/accuracy.md has it

The interval is Wilson's at 95 %, over the test examples: how far another test set of this kind
might be, and not another training run. Multiply-adds are those of the test example of the
median length.
"""

import argparse
import os
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from scipy.stats import binomtest

from models import create_model
from models.cost import cost
from models.graph import shapes_only
from pipelines.datasets import load_dataset
from pipelines.examples import decoded
from pipelines.run import REPORT, Run, read_json

CONFIDENCE = 0.95
MEASURED = 500  # test examples, of which the median length is taken


class Line(NamedTuple):
    data: str
    model: str
    parameters: int
    multiply_adds: int
    right: float
    examples: int
    minutes: float
    command: str

    def __str__(self) -> str:
        low, high = interval(self.right, self.examples)
        return (
            f"| {self.data} | `{self.model}` | {self.parameters:,} |"
            f" {self.multiply_adds / 1e6:,.1f} |"
            f" {self.right:.1%} of {self.examples} | {low:.1%} to {high:.1%} |"
            f" {self.minutes:.1f} | `{self.command}` |"
        )


HEAD = """| data | model | parameters | multiply-adds, millions | right | 95 % | minutes | command |
| --- | --- | --- | --- | --- | --- | --- | --- |"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--data-dir", type=Path)
    given = parser.parse_args()
    finished = [folder for folder in given.runs if (folder / REPORT).exists()]
    lines = [line(Run.open(folder), given.data_dir) for folder in finished]
    print("\n".join([HEAD, *map(str, sorted(lines, key=lambda x: (x.data, -x.right)))]))


def line(run: Run, data_dir: Path | None) -> Line:
    report, about = read_json(run.folder / REPORT), run.config["train"]
    shape = median_shape(run, data_dir)
    with shapes_only():
        network = create_model(about["model"], len(run.labels), **run.options)
        spent = cost(network, shape, "int32" if run.domain == "text" else "float32")
    return Line(
        about["data"],
        about["model"],
        spent.parameters,
        spent.multiply_adds,
        report["test_accuracy"],
        report["test_examples"],
        report["seconds"] / 60,
        command(run),
    )


def median_shape(run: Run, data_dir: Path | None) -> tuple[int, ...]:
    """Of what the network gets for the test example of the median length."""
    inputs = run.preprocessing()
    test = load_dataset(
        run.config["train"]["data"], data_dir, seed=run.config["train"]["seed"]
    ).test
    preprocess = tf.function(inputs.preprocess, [inputs.decoded_spec])
    some = [test[i] for i in np.random.default_rng(0).permutation(len(test))[:MEASURED]]
    shapes = [tuple(preprocess(tf.constant(decoded(e, inputs.spec()))).shape) for e in some]
    return sorted(shapes)[len(shapes) // 2]


def command(run: Run) -> str:
    """The recipe's, of sounds; or what `triptych train` was told."""
    about = run.config["train"]
    if run.domain != "audio":
        return run.config["command"]
    data, _, speaker = about["data"].partition("-")
    recipe = f"{data}_speakers" if speaker else data
    parts = ["python -m pipelines.recipes.sounds", recipe, about["model"], "runs data"]
    parts += [f"--epochs {about['epochs']}"] if about["epochs"] else []
    parts += [f"--speakers {speaker}"] if speaker else []
    return " ".join(parts)


def interval(share: float, examples: int) -> tuple[float, float]:
    found = binomtest(round(share * examples), examples).proportion_ci(CONFIDENCE, "wilson")
    return found.low, found.high


if __name__ == "__main__":
    main()
