"""Each method on the shipped models: a picture, arrays, and what a user reads when it can't be."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.datasets import Example
from pipelines.explain.canvas import Canvas
from pipelines.explain.errors import ExplainError
from pipelines.explain.exhibits import EXHIBITS, show
from pipelines.explain.ngrams import nearest_ngram
from tests.pipelines.explain.conftest import Opened

Open = Callable[[str], Opened]

SAMPLES = Path("samples")
FEW = {"steps": 3}


def size(png: bytes) -> tuple[int, int]:
    picture = Image.open(io.BytesIO(png))
    assert np.asarray(picture.convert("L")).std() > 1
    return picture.size


@pytest.mark.parametrize("domain", ["image", "audio"])
def test_the_canvas_goes_there_and_back(opened: Open, domain: str) -> None:
    network, _, example, class_id = opened(domain)
    canvas = Canvas.of(network)
    inputs = canvas.inputs(example)
    assert 0 <= inputs.min() < inputs.max() <= 1
    logits = canvas.model(size=example.shape[:2])(inputs[None], training=False)
    np.testing.assert_allclose(logits, network.model(example[None]), atol=0.02)
    assert int(np.argmax(logits)) == class_id
    if domain == "image":
        np.testing.assert_array_equal(canvas.picture(inputs), network.inputs.picture(example))


@pytest.mark.parametrize(
    ("method", "domain", "options"),
    [
        ("filters", "image", {}),
        ("filters", "audio", {}),
        ("filters", "text", {}),
        ("feature-maps", "image", {}),
        ("feature-maps", "audio", {}),
        ("feature-maps", "text", {}),
        ("fgsm", "audio", {}),
        ("receptive-field", "audio", {"layer": "stages.1"}),
        ("deconvnet", "image", {"layer": "stages.2"}),
        ("activation-maximization", "audio", {"options": FEW}),
        ("deep-dream", "image", {"layer": "stages.2,stages.4", "options": {**FEW, "size": 48}}),
    ],
)
def test_a_method_shows_something(opened: Open, method: str, domain: str, options) -> None:
    network, items, _, _ = opened(domain)
    given = items[:1] if EXHIBITS[method].needs == "an input" else []
    done = show(method, network, given, **options)
    assert min(size(done.png)) > 40
    assert done.values
    assert done.facts


def test_an_attack_changes_the_answer_within_its_budget(opened: Open) -> None:
    network, items, _, class_id = opened("image")
    done = show("pgd", network, items[:1], options={"epsilon": 8})
    before, after = done.values["scores"]
    assert before.argmax() == class_id != after.argmax()
    assert np.abs(done.values["attacked"] - done.values["clean"]).max() <= 8 / 255 + 1e-6
    other = network.labels[(class_id + 3) % 10]
    aimed = show("pgd", network, items[:1], label=other, options={"epsilon": 8})
    assert network.labels[aimed.values["scores"][1].argmax()] == other


def test_a_dream_sees_more_of_what_it_sees(opened: Open) -> None:
    network, items, _, _ = opened("image")
    options = {"steps": 4, "size": 48, "octaves": 2}
    done = show("deep-dream", network, items[:1], layer="stages.4", options=options)
    assert size(done.png) == (48, 48)
    canvas = Canvas.of(network)
    features = canvas.features(["stages.4"])
    picture = Image.fromarray(canvas.picture(canvas.inputs(network.example(items[0]))))
    plain = np.asarray(picture.resize((48, 48), Image.Resampling.BICUBIC), np.float32) / 255
    before, after = (
        np.square(features(x[None])["stages.4"]).sum() for x in (plain, done.values["picture"])
    )
    assert after > 2 * before


def test_style_transfer_on_a_shipped_network(opened: Open) -> None:
    network, _, _, _ = opened("image")
    pictures = [(SAMPLES / name).read_bytes() for name in ("frog.jpg", "airplane.jpg")]
    options = {"steps": 8, "size": 40, "average_pool": True, "total_variation": 0.001}
    done = show("style-transfer", network, pictures, options=options)
    assert size(done.png) == (40, 40)
    assert done.values["losses"].min() < 0.7 * done.values["losses"][0]


def test_the_nearest_n_gram_is_made_of_the_filters_words(opened: Open) -> None:
    """A filter whose weights are the vectors of three words (of a layer set so for the test)."""
    network, _, _, _ = opened("text")
    conv = next(step.operation for step in network.steps if step.output is network.layer("convs.0"))
    kernel, bias = conv.get_weights()
    words = ["who", "wrote", "hamlet"]
    known = [word for word in words if word in network.inputs.vocabulary]
    numbers = [network.inputs.vocabulary.index(word) for word in known]
    vectors = network.embed(np.array([numbers], np.int32)).numpy()[0]
    planted = kernel.copy()
    planted[: len(known), :, 7] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    planted[len(known) :, :, 7] = 0
    try:
        conv.set_weights([planted, bias])
        found = nearest_ngram(network, "convs.0", 7, len(known), steps=40)
    finally:
        conv.set_weights([kernel, bias])
    assert found.words == known
    assert found.activation <= found.ideal * 2
    assert (found.history[:, 1] >= found.history[:, 0]).all()


def test_texts_of_a_data_set_give_n_grams(opened: Open) -> None:
    network, items, _, _ = opened("text")
    examples = [Example(item, 0) for item in items]
    done = show("top-inputs", network, (), examples, "convs.0", options={"units": "3,5"})
    assert [fact.partition(":")[0] for fact in done.facts] == [
        "convs.0, filter 3",
        "convs.0, filter 5",
    ]
    grams = done.facts[0].partition(": ")[2].split(" | ")
    assert all(len(gram.split()) <= 3 for gram in grams)


def test_pictures_of_a_data_set_give_patches_and_a_curve(opened: Open, tmp_path: Path) -> None:
    network, items, _, _ = opened("image")
    examples = []
    for number, item in enumerate(items):
        path = tmp_path / f"{number}.png"
        path.write_bytes(item)
        label = int(network.scores(network.example(item)[None]).argmax())
        examples.append(Example(path, label))
    (tmp_path / "broken.png").write_bytes(b"no picture")
    done = show("top-inputs", network, (), [*examples, Example(tmp_path / "broken.png", 0)])
    assert done.facts == [f"{network.last_conv}: {len(examples)} inputs"]
    curve = show("robustness", network, (), examples, options={"epsilons": "0,4,16"}).values
    assert curve["pgd"][0] == curve["fgsm"][0] == 1
    assert curve["pgd"][-1] < 0.5


def test_no_network_is_needed_for_a_checkerboard() -> None:
    done = show("checkerboard", None)
    assert len(done.facts) == 3
    assert size(done.png)[0] > 300


@pytest.mark.parametrize(
    ("method", "domain", "inputs", "options", "reason"),
    [
        ("deep-dream", "audio", 1, {}, "choose a network for pictures"),
        ("pgd", "text", 1, {}, "activation-maximization for the n-grams"),
        ("filters", "image", 0, {"layer": "nowhere"}, "has no layer 'nowhere'; it has .*stages.8"),
        ("filters", "image", 0, {"layer": "stages.0.conv1.norm"}, "only convolutions have filters"),
        ("filters", "image", 0, {"options": {"steps": 3}}, "takes no steps; it takes layer"),
        ("filters", "image", 1, {}, "filters takes no file and no --data"),
        ("style-transfer", "image", 1, {}, "takes two files, content and style"),
        ("robustness", "image", 0, {}, "takes --data, and no file"),
        ("filters", "image", 0, {"label": "frog"}, "takes no class; it takes layer"),
        ("activation-maximization", "image", 0, {"label": "dragon"}, "no class 'dragon'"),
        ("activation-maximization", "image", 0, {"options": {"units": 99}}, "no unit 99"),
        ("activation-maximization", "image", 0, {"options": {"units": "a"}}, "units=1,2,4"),
        ("pgd", "image", 1, {"options": {"epsilon": "much"}}, "must be a number, 0 or more"),
        ("deep-dream", "image", 1, {"options": {"steps": 0}}, "must be a whole number, 1 or more"),
        ("deep-dream", "image", 1, {"options": {"size": 9999}}, "16 to 2048, not 9999"),
    ],
)
def test_what_cannot_be_says_why(opened: Open, method, domain, inputs, options, reason) -> None:
    network, items, _, _ = opened(domain)
    with pytest.raises(ExplainError, match=reason):
        show(method, network, items[:inputs], **options)
