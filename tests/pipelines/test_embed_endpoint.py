"""`embed`: what the last layer sees, in the artefact and in a batch job's rows."""

from pathlib import Path

import keras
import numpy as np
import pyarrow as pa
import pytest

from pipelines.artefact import Artefact
from pipelines.batch.predictor import Predictor
from pipelines.embed import embed_endpoint
from pipelines.export import export
from pipelines.preprocessing import ImagePreprocessing
from pipelines.run import Run
from tests.pipelines.batch.conftest import OPENING


@pytest.mark.parametrize("domain", ["image", "audio", "text"])
def test_the_last_layer_makes_the_logits_of_it(domain: str, runs: dict[str, Path]) -> None:
    run = Run.open(runs[domain])
    network, inputs = run.trained_model(), run.preprocessing()
    endpoint = embed_endpoint(network, inputs)
    shape = [3, *(size or 32 for size in inputs.example_spec.shape)]
    rng = np.random.default_rng(0)
    examples = rng.integers(1, 5, shape).astype(inputs.example_spec.dtype.as_numpy_dtype)
    embedding = endpoint(keras.ops.convert_to_tensor(examples))["embedding"].numpy()
    kernel, bias = network.weights[-2:]
    wanted = network(examples, training=False)
    np.testing.assert_allclose(embedding @ kernel.numpy() + bias.numpy(), wanted, atol=1e-4)


def test_a_row_has_it(runs: dict[str, Path], inputs: dict, tmp_path: Path) -> None:
    folder = export(runs["image"], tmp_path, "pictures", embed=True)
    predictor = Predictor(folder, embed=True, **OPENING)
    names = pa.array(["a", "bad", "b"])
    data = pa.array([inputs["image"][0], b"junk", inputs["image"][1]], pa.binary())
    rows = predictor(pa.table({"input": names, "data": data})).to_pylist()
    assert rows[1]["embedding"] is None
    run = Run.open(runs["image"])
    network, preprocessing = run.trained_model(), run.preprocessing()
    kernel, bias = network.weights[-2:]
    for row, item in ((rows[0], inputs["image"][0]), (rows[2], inputs["image"][1])):
        example = preprocessing.preprocess(predictor._servable.decode(item))
        logits = np.array(row["embedding"]) @ kernel.numpy() + bias.numpy()
        np.testing.assert_allclose(logits, network(example[None])[0], atol=1e-4)


def test_a_network_that_ends_otherwise_has_none() -> None:
    network = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 8), keras.layers.Flatten()]
    )
    with pytest.raises(ValueError, match="does not end in a fully connected layer"):
        Artefact(network, ImagePreprocessing(8, 8), ["a", "b"], embed=True)
