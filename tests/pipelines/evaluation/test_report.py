"""The page: it stands by itself, tells all, trusts nothing that it shows; and its JSON."""

import base64
import io
import json
import os
import shutil
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from PIL import Image

from pipelines.evaluation.evaluate import evaluate
from pipelines.evaluation.measures import measure
from pipelines.evaluation.report import HTML, JSON, _matrix, to_html, write_report
from serving.runtime.manifest import artefact_digest, read_manifest

COMMAND = "triptych evaluate tiny new/ --out <folder>"
EVIL = '<script>alert("1")</script> & co'


class Page(HTMLParser):
    """What a browser would load, and what a reader without eyes would hear."""

    VOID = ("meta", "img", "br", "input", "link")

    def __init__(self, html: str):
        super().__init__()
        self.addresses, self.tags, self.open, self.text = [], [], [], ""
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.append((tag, found))
        names = ("src", "href", "xlink:href", "srcset", "data", "action")
        self.addresses += [found[name] for name in names if name in found]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def attributes(self, tag: str) -> list[dict]:
        return [found for name, found in self.tags if name == tag]


@pytest.fixture(scope="module")
def mistaken(predictor, data, tmp_path_factory):
    """Of each domain, an evaluation on data whose labels are interchanged."""
    root = tmp_path_factory.mktemp("mistaken")
    for kind, labels in (("images", ("red", "blue")), ("sounds", ("low", "high"))):
        for label, other in zip(labels, labels[::-1], strict=True):
            shutil.copytree(data / kind / label, root / kind / other)
    (root / "texts.tsv").write_text(
        f"weather\tthe cat sleeps {EVIL}\nanimal\train falls today\n{EVIL}\tbread\n"
    )
    sources = {"image": "images", "audio": "sounds", "text": "texts.tsv"}
    return {
        domain: evaluate(predictor(domain), str(root / source))
        for domain, source in sources.items()
    }


def bytes_of(address: str, kind: str) -> io.BytesIO:
    head, _, content = address.partition(",")
    assert head == f"data:{kind};base64"
    return io.BytesIO(base64.b64decode(content, validate=True))


@pytest.mark.parametrize("domain", ["image", "audio", "text"])
def test_nothing_is_loaded_from_elsewhere(domain, mistaken):
    html = to_html(mistaken[domain], COMMAND)
    page = Page(html)
    assert all(address.startswith(("data:", "#")) for address in page.addresses)
    assert not page.attributes("script")
    assert not page.attributes("link")
    assert "url(" not in html.replace("url(#", "")  # a clip path's own
    assert "@import" not in html
    assert html.count("://") - html.count('xmlns="http://') - html.count('xlink="http://') == 0


@pytest.mark.parametrize("domain", ["image", "audio", "text"])
def test_it_can_be_heard_and_walked(domain, mistaken):
    page = Page(to_html(mistaken[domain], COMMAND))
    assert all(image["alt"] for image in page.attributes("img"))
    assert all(header["scope"] in ("row", "col") for header in page.attributes("th"))
    assert page.attributes("html")[0]["lang"] == "en"
    ids = [found["id"] for _, found in page.tags if "id" in found and found["id"].islower()]
    assert len(ids) == len(set(ids))
    named = [t["aria-labelledby"] for t in page.attributes("table") if "aria-labelledby" in t]
    assert set(named) <= set(ids)
    assert "role" in page.attributes("figure")[0]


def test_pictures_of_mistakes(mistaken):
    page = Page(to_html(mistaken["image"], COMMAND))
    pictures = page.attributes("img")
    assert len(pictures) == 24
    for found in pictures:
        assert Image.open(bytes_of(found["src"], "image/png")).size == (16, 20)
        assert found["alt"].endswith("the picture, 16 x 20 pixels")


def test_spectrograms_and_sounds_of_mistakes(mistaken):
    page = Page(to_html(mistaken["audio"], COMMAND))
    assert len(page.attributes("img")) == len(page.attributes("audio")) > 0
    for found in page.attributes("audio"):
        samples, rate = soundfile.read(bytes_of(found["src"], "audio/flac"))
        assert rate == 16000
        assert 0.2 <= len(samples) / rate <= 0.6
        assert abs(samples).max() > 0.3
    Image.open(bytes_of(page.attributes("img")[0]["src"], "image/png")).verify()


def test_texts_and_labels_are_shown_as_they_are_and_never_run(mistaken):
    html = to_html(mistaken["text"], f"triptych evaluate {EVIL}")
    page = Page(html)
    assert EVIL not in html
    assert page.text.count(EVIL) >= 3  # a text, a class, the command
    assert "the cat sleeps" in page.text


def test_the_json_has_every_figure(mistaken, repository, tmp_path):
    evaluation = mistaken["image"]
    page = write_report(evaluation, COMMAND, tmp_path / "new/report")
    assert page.name == HTML
    found = json.loads((page.parent / JSON).read_text())
    measures = evaluation.measures
    assert found["accuracy"] == measures.accuracy
    assert found["accuracy_interval_95"] == list(measures.interval)
    assert found["confusion"] == measures.confusion.tolist()
    assert found["classes"][1]["recall"] is None  # green has no example
    assert found["calibration"]["before"]["ece"] == evaluation.calibration.before.ece
    digest = artefact_digest(read_manifest(repository / "tiny-image" / "1"))
    assert found["model"] == {"name": "tiny-image", "version": 1, "digest": digest}
    assert found["command"] == COMMAND
    assert found["data"]["examples"] == 40
    assert len(found["mistakes"]) == 24
    assert [path.name for path in page.parent.iterdir() if path.name.startswith(".")] == []


def test_the_page_tells_what_was_measured(mistaken):
    evaluation = mistaken["image"]
    text = " ".join(Page(to_html(evaluation, COMMAND)).text.split())
    wrong = 40 - evaluation.measures.right
    for said in (
        "40 examples, all of the data",
        f"40 listed, 40 measured, {40 - wrong} right, {wrong} wrong; none left out",
        COMMAND,
        evaluation.model.digest,
        f"24 of {wrong}",
        "resnet20",
    ):
        assert said in text


def test_names_that_are_not_utf_8(predictor, data, tmp_path):
    folder = os.fsencode(tmp_path / "new" / "blue")
    os.makedirs(folder)
    shutil.copy(data / "images/red/00.png", os.path.join(folder, b"red \xff.png"))
    with open(os.path.join(folder, b"bad \xff.png"), "wb") as file:
        file.write(b"x")
    found = evaluate(predictor("image"), str(tmp_path / "new"))
    page = write_report(found, COMMAND, tmp_path / "report")
    report = json.loads((page.parent / JSON).read_text())
    assert report["mistakes"][0]["input"].endswith("red \udcff.png")
    assert report["left_out"][0]["input"].endswith(r"bad \udcff.png")
    assert r"red \udcff.png" in page.read_text()


def test_the_matrix_of_many_classes_is_a_picture():
    labels = [f"class {i}" for i in range(40)]
    true = np.arange(40)
    measures = measure(true, np.eye(40, dtype=np.float32)[true[::-1]], labels)
    drawn = _matrix(SimpleNamespace(measures=measures))
    Image.open(bytes_of(drawn["picture"], "image/png")).verify()
    measures = measure(true[:20], np.eye(40, dtype=np.float32)[:20], labels)
    assert _matrix(SimpleNamespace(measures=measures))["labels"] == labels[:20]


def test_a_page_without_mistakes_says_so(predictor, data, tmp_path):
    shutil.copytree(data / "images/red", tmp_path / "only/red")
    found = evaluate(predictor("image"), str(tmp_path / "only"))
    assert found.measures.accuracy == 1
    text = " ".join(Page(to_html(found, COMMAND)).text.split())
    assert "There are none: all 20 examples were answered right." in text
