"""Imported weights answer as they did, under their own labels."""

import io
import json
import os
import re
from pathlib import Path

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy
from PIL import Image
from safetensors.numpy import save_file

import models
from models.weights import keras_applications, torch_state
from models.weights.carry import WeightsError, weighted_layers
from pipelines import import_weights as module
from pipelines.export import ExportError
from pipelines.import_weights import drawn_picture, import_weights, read_labels
from pipelines.preprocessing.image import ImagePreprocessing
from serving.runtime.servable import Servable

NAMES = {value: key for key, value in torch_state.NORM.items()}


def state_of(network: keras.Model, table) -> dict[str, np.ndarray]:
    """As PyTorch would have it: the table read backwards."""
    state = {}
    for path, layer in weighted_layers(network).items():
        for weight in layer.weights:
            value = convert_to_numpy(weight)
            if weight.name == "kernel":
                value = value.transpose(3, 2, 0, 1) if value.ndim == 4 else value.T
            kind = NAMES.get(weight.name, "weight" if weight.name == "kernel" else weight.name)
            kind = "bias" if weight.name in ("bias", "beta") else kind
            state[f"{table[path]}.{kind}"] = np.ascontiguousarray(value)
    return state


@pytest.fixture(scope="module")
def original() -> keras.Model:
    keras.utils.set_random_seed(0)
    network = models.create_model("resnet20", 10, padding="torch")
    network(keras.KerasTensor((1, 32, 32, 3)))
    rng = np.random.default_rng(0)
    for weight in network.weights:
        if "moving" in weight.name:
            weight.assign(weight + rng.uniform(0, 0.5, weight.shape))
    return network


@pytest.fixture(scope="module")
def weights(original, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "resnet20.safetensors"
    save_file(state_of(original, torch_state.DONORS["resnet20"].table(original)), path)
    return path


@pytest.fixture(scope="module")
def version(weights, tmp_path_factory) -> Path:
    return import_weights("resnet20", str(weights), tmp_path_factory.mktemp("repository"))


@pytest.mark.parametrize("executor", ["tensorflow", "openvino"])
def test_the_version_answers_as_the_original(executor, original, version) -> None:
    """With the preprocessing written out anew, in NumPy."""
    picture = np.random.default_rng(1).integers(0, 256, (32, 32, 3), np.uint8)
    mean, deviation = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    example = ((picture / 255 - mean) / deviation).astype(np.float32)
    wanted = convert_to_numpy(keras.ops.softmax(original(example[None], training=False)))[0]
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    servable = Servable.load(version, executor)
    example = servable.preprocess(servable.decode(buffer.getvalue()))
    scores = servable.predict(example[None]).scores[0]
    np.testing.assert_allclose(scores, wanted, atol=1e-5)
    assert wanted.max() - wanted.min() > 0.01
    servable.check_golden()
    servable.close()


def test_the_manifest_says_where_it_comes_from(version, weights) -> None:
    manifest = json.loads((version / "assets.extra/manifest.json").read_text())
    assert version.name == "1"
    assert version.parent.name == manifest["name"] == "resnet20"
    assert manifest["architecture"] == {"name": "resnet20", "options": {"padding": "torch"}}
    assert manifest["labels"][:2] == ["airplane", "automobile"]
    assert manifest["input"]["image"] == {"height": 32, "width": 32, "channels": 3}
    assert manifest["dataset"]["source"].startswith("resnet20.safetensors, SHA-256 ")
    assert manifest["command"] == f"triptych models import resnet20 --weights {weights}"
    golden = json.loads((version / "assets.extra/golden.json").read_text())
    assert len(golden["examples"]) == module.GOLDEN_INPUTS


@pytest.mark.timeout(600)
def test_a_file_of_keras_answers_as_keras(tmp_path) -> None:
    """In 0 to 255, as Keras's own network with its preprocessing takes it."""
    keras.utils.set_random_seed(0)
    theirs = keras.applications.MobileNetV3Small(weights=None, classes=3)
    theirs.save(tmp_path / "w.h5")
    (tmp_path / "labels.txt").write_text("ant\nbee\ncat\n")
    labels = str(tmp_path / "labels.txt")
    version = import_weights(
        "mobilenet_v3_small", str(tmp_path / "w.h5"), tmp_path / "repository", "mine", labels
    )
    assert version == tmp_path / "repository/mine/1"
    servable = Servable.load(version, "openvino")
    assert list(servable.manifest.labels) == ["ant", "bee", "cat"]
    picture = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
    scores = servable.predict(servable.preprocess(picture)[None]).scores[0]
    servable.close()
    wanted = convert_to_numpy(theirs(picture[None].astype(np.float32), training=False))[0]
    np.testing.assert_allclose(scores, wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("architecture", "file", "options", "said"),
    [
        ("resnet20", "w.bin", {}, "name a file"),
        ("resnet20", "weights.h5", {}, "no table carries Keras's weights into 'resnet20'"),
        ("kim_cnn", "resnet20.safetensors", {}, "no table carries PyTorch's"),
        ("resnet21", "resnet20.safetensors", {}, "no table carries"),
        ("resnet32", "resnet20.safetensors", {}, "do not fit: .*layer3.3.* is missing"),
        ("resnet20", "resnet20.safetensors", {"labels": "five.txt"}, "10 classes.*5 labels"),
        ("resnet20", "resnet20.safetensors", {"name": "../up"}, "cannot be a model's name"),
    ],
)
def test_what_cannot_be_imported(
    architecture, file, options, said, weights, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("five.txt").write_text("a\nb\nc\nd\ne\n")
    Path(weights.name).write_bytes(weights.read_bytes())
    with pytest.raises((WeightsError, ExportError), match=said):
        import_weights(architecture, file, tmp_path / "repository", **options)
    assert not (tmp_path / "repository").exists()


@pytest.mark.parametrize("file", ["absent.pth", "absent.h5"])
def test_an_absent_file_is_named(file, tmp_path) -> None:
    architecture = "resnet20" if file.endswith("pth") else "vgg16"
    with pytest.raises(OSError, match="absent"):
        import_weights(architecture, str(tmp_path / file), tmp_path / "repository")


PREPROCESS_INPUT = {
    "DenseNet": keras.applications.densenet,
    "InceptionResNetV2": keras.applications.inception_resnet_v2,
    "InceptionV3": keras.applications.inception_v3,
    "MobileNet": keras.applications.mobilenet,
    "MobileNetV2": keras.applications.mobilenet_v2,
    "ResNet": keras.applications.resnet,
    "ResNetV2": keras.applications.resnet_v2,
    "VGG": keras.applications.vgg16,
    "Xception": keras.applications.xception,
}


@pytest.mark.parametrize("name", keras_applications.DONORS)
def test_preprocessing_is_that_of_keras(name) -> None:
    donor = keras_applications.DONORS[name]
    picture = np.random.default_rng(0).integers(0, 256, (donor.size, donor.size, 3), np.uint8)
    got = ImagePreprocessing(donor.size, donor.size, **donor.preprocessing).preprocess(picture)
    if "V3" in donor.application and "Mobile" in donor.application:  # a layer of theirs
        wanted = keras.layers.Rescaling(1 / 127.5, -1)(picture)
    else:
        family = re.sub(r"(Net|VGG)\d+", r"\1", donor.application)
        wanted = PREPROCESS_INPUT[family].preprocess_input(picture.astype(np.float32))
    np.testing.assert_allclose(got, wanted, atol=1e-6 * np.ptp(wanted))


class TestLabels:
    def test_of_a_text_file(self, tmp_path) -> None:
        (tmp_path / "l.txt").write_text("red fox\n\n cat \n")
        assert read_labels(str(tmp_path / "l.txt"), 2) == ["red fox", "cat"]

    @pytest.mark.parametrize(
        ("content", "wanted"),
        [
            (["a", "b"], ["a", "b"]),
            ({"1": ["n2", "crane"], "0": ["n1", "tench"]}, ["tench", "crane"]),
            ({"0": ["n1", "crane"], "1": ["n2", "crane"]}, ["crane n1", "crane n2"]),
        ],
    )
    def test_of_json(self, content, wanted, tmp_path) -> None:
        (tmp_path / "l.json").write_text(json.dumps(content))
        assert read_labels(str(tmp_path / "l.json"), 2) == wanted

    @pytest.mark.parametrize("text", ["{", '{"1": ["n", "a"]}', "3", "[[]]", '[["a"]]', "[]"])
    def test_of_json_of_another_kind(self, text, tmp_path) -> None:
        (tmp_path / "l.json").write_text(text)
        with pytest.raises(WeightsError, match=r"l\.json"):
            read_labels(str(tmp_path / "l.json"), None)

    def test_numbers_only_if_asked(self) -> None:
        assert read_labels("ids", 3) == ["0", "1", "2"]
        assert len(read_labels("ids", None)) == 1000

    def test_imagenets_come_from_keras(self, monkeypatch) -> None:
        def decode(predictions, top):
            return [[(f"n{row.argmax()}", f"class {row.argmax()}", 1.0)] for row in predictions]

        monkeypatch.setattr(keras.applications.imagenet_utils, "decode_predictions", decode)
        labels = read_labels("imagenet", 1000)
        assert (labels[0], labels[999]) == ("class 0", "class 999")

    def test_without_the_class_index_it_says_what_to_do(self, monkeypatch) -> None:
        def decode(predictions, top):
            raise Exception("URL fetch failure")  # as Keras does

        monkeypatch.setattr(keras.applications.imagenet_utils, "decode_predictions", decode)
        with pytest.raises(WeightsError, match=r"URL fetch failure.*--labels ids"):
            read_labels("imagenet", 1000)


def test_drawn_pictures_are_the_same_each_time_and_differ() -> None:
    pictures = [drawn_picture(seed, 32) for seed in range(4)]
    assert pictures == [drawn_picture(seed, 32) for seed in range(4)]
    assert len(set(pictures)) == 4
    assert all(np.asarray(Image.open(io.BytesIO(p))).std() > 10 for p in pictures)


CHECKPOINT = os.environ.get("TRIPTYCH_RESNET20", "")
TEST_FILES = os.environ.get("TRIPTYCH_CIFAR10_TEST", "")


@pytest.mark.skipif(
    not (CHECKPOINT and TEST_FILES),
    reason="set TRIPTYCH_RESNET20 to akamaster's resnet20-12fca82f.th, and"
    " TRIPTYCH_CIFAR10_TEST to a folder CLASS/*.jpg of CIFAR-10's test pictures",
)
def test_the_published_resnet20_scores_as_published_there(tmp_path) -> None:
    """81.0 % of the JPEG files, 91.8 % of the original bitmaps (its README: 8.27 % error)."""
    version = import_weights("resnet20", CHECKPOINT, tmp_path)
    servable = Servable.load(version, "openvino")
    right, count = 0, 0
    for class_id, label in enumerate(servable.manifest.labels):
        files = sorted(Path(TEST_FILES, label).iterdir())
        examples = [servable.preprocess(servable.decode(f.read_bytes())) for f in files]
        right += int((servable.predict(np.stack(examples)).scores.argmax(-1) == class_id).sum())
        count += len(files)
    servable.close()
    assert right / count == pytest.approx(0.810, abs=0.002)
