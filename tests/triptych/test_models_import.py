"""`triptych models import`, as a person calls it."""

import keras
import numpy as np
import pytest
from click.testing import Result
from safetensors.numpy import save_file
from typer.testing import CliRunner

import models
from models.weights.carry import weighted_layers
from models.weights.torch_state import DONORS
from serving.runtime.manifest import read_manifest
from triptych.main import app


def run(*arguments) -> Result:
    """In this process, which has imported TensorFlow and Keras already."""
    return CliRunner().invoke(app, ["models", "import", *map(str, arguments)])


@pytest.fixture
def weights(tmp_path) -> str:
    """Zeros of the right shapes, for 3 classes."""
    network = models.create_model("resnet20", 3)
    network(keras.KerasTensor((1, 32, 32, 3)))
    table = DONORS["resnet20"].table(network)
    kinds = {"kernel": "weight", "gamma": "weight", "beta": "bias", "bias": "bias"}
    kinds |= {"moving_mean": "running_mean", "moving_variance": "running_var"}
    state = {
        f"{table[path]}.{kinds[weight.name]}": np.zeros(weight.shape[::-1], np.float32)
        for path, layer in weighted_layers(network).items()
        for weight in layer.weights
    }
    save_file(state, tmp_path / "w.safetensors")
    return str(tmp_path / "w.safetensors")


def test_a_version_is_written(weights, tmp_path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("a\nb\nc\n")
    repository = tmp_path / "repository"
    options = ("--repository", repository, "--name", "mine", "--labels", labels)
    result = run("resnet20", "--weights", weights, *options)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith(str(repository / "mine" / "1"))
    assert list(read_manifest(repository / "mine" / "1").labels) == ["a", "b", "c"]


def test_help_shows_an_example() -> None:
    assert "Example: triptych models import resnet20 --weights" in run("--help").stdout


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "No such file"), (b"\x80\x02cos\nsystem\nX\x01\x00\x00\x00a\x85R.", "os.system")],
)
def test_errors_are_one_line(content, said, tmp_path) -> None:
    if content:
        (tmp_path / "w.pth").write_bytes(content)
    repository = tmp_path / "repository"
    result = run("resnet20", "--weights", tmp_path / "w.pth", "--repository", repository)
    assert result.exit_code == 1
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert not repository.exists()
