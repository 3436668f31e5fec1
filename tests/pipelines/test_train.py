"""Training: what it leaves out it lists, what was cut off goes on, what is wrong it says."""

import json
from pathlib import Path

import numpy as np
import pytest
from keras.ops import convert_to_numpy

from pipelines.evaluation.network import confusion
from pipelines.examples import Examples, Reader
from pipelines.preprocessing import AudioPreprocessing
from pipelines.run import Run, RunError, TrainConfig
from pipelines.train import KeepBest, preprocessing_for, train
from tests.conftest import picture


def config(out: Path, root: Path, **changes) -> TrainConfig:
    options = {"filters": 4, "blocks": 1}
    return TrainConfig(
        **{
            "model": "resnet20",
            "data": str(root / "images"),
            "out": out,
            "epochs": 2,
            "batch_size": 16,
            "image_size": 16,
            "options": options,
            **changes,
        }
    )


def test_unreadable_files_are_listed_not_fatal(tmp_path: Path) -> None:
    for colour in ("blue", "red"):
        (tmp_path / "data" / colour).mkdir(parents=True)
        for i in range(12):
            picture(colour, i).save(tmp_path / "data" / colour / f"{i:02}.png")
    (tmp_path / "data" / "red" / "broken.png").write_bytes(b"\x89PNG and nothing")
    (tmp_path / "data" / "red" / "notes.docx").write_bytes(b"PK")
    run = train(config(tmp_path / "run", tmp_path, data=str(tmp_path / "data")))
    report = json.loads((run / "report.json").read_text())
    listed = {Path(item["source"]).name for item in report["unreadable"]}
    assert listed == {"broken.png", "notes.docx"}
    assert all(item["reason"] for item in report["unreadable"])


def test_a_run_that_was_cut_off_goes_on(data: Path, tmp_path: Path) -> None:
    """Two epochs of four, as a kill between epochs leaves them; then the same command again."""
    wanted = config(tmp_path / "run", data, epochs=4)

    class Killed(Exception):
        pass

    def kill(self, epoch, logs=None):
        original(self, epoch, logs)
        if epoch == 1:
            raise Killed

    original = KeepBest.on_epoch_end
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(KeepBest, "on_epoch_end", kill)
        with pytest.raises(Killed):
            train(wanted)
    train(wanted)
    epochs = [line.split(",")[0] for line in (tmp_path / "run/history.csv").read_text().split()]
    assert epochs[0] == "epoch"
    assert epochs[-1] == "3"
    assert len(epochs) <= 5


def test_another_command_does_not_overwrite_a_run(runs, data) -> None:
    with pytest.raises(RunError, match="holds another run"):
        train(config(runs["image"], data))


def test_a_network_of_another_domain_names_those_that_fit(data, tmp_path) -> None:
    with pytest.raises(RunError, match=r"takes image.*is audio.*frequency_cnn"):
        train(config(tmp_path / "run", data, data=str(data / "sounds")))


def test_the_command_of_a_run_is_its_own_command_line() -> None:
    made = TrainConfig("resnet20", "cifar10", Path("runs/x"), flip=False, options={"blocks": 2})
    assert made.command() == (
        "triptych train --model resnet20 --data cifar10 --out runs/x --no-flip --option blocks=2"
    )


def test_the_confusion_matrix_counts(runs) -> None:
    run = Run.open(runs["audio"])
    inputs: AudioPreprocessing = run.preprocessing()
    waves = [np.sin(np.arange(n) / 7).astype(np.float32) for n in (2000, 3000, 2000)]
    values = [inputs.preprocess(wave).numpy() for wave in waves]
    model = run.trained_model()
    answered = [int(np.argmax(model(v[None], training=False))) for v in values]
    true = np.array([answered[0], (answered[1] + 1) % 3, answered[2]], np.int32)
    counts = confusion(model, Examples(values, true, [""] * 3), 3)
    assert np.trace(counts) == 2
    assert counts.sum() == 3
    assert counts[true[1], answered[1]] == 1


def test_reading_keeps_the_order(data: Path, runs) -> None:
    from pipelines.datasets import Example

    files = sorted((data / "images" / "red").iterdir())
    inputs = Run.open(runs["image"]).preprocessing()
    got, unreadable = Reader(inputs).read([Example(path, 0) for path in files], "test")
    assert not unreadable
    assert got.sources == files
    one, _ = Reader(inputs).read([Example(files[7], 0)], "test")
    np.testing.assert_array_equal(got.values[7], one.values[0])


@pytest.mark.parametrize("options", [{"filters": "no"}, {"nosuch": 1}, {"shortcut": "C"}])
def test_a_wrong_option_of_the_network_is_named(options, data, tmp_path) -> None:
    with pytest.raises(RunError, match=next(iter(options))):
        train(config(tmp_path / "run", data, options=options))


def texts(out: Path, data: Path, model: str = "kim_cnn_multichannel", **changes) -> TrainConfig:
    options = {"widths": [2], "filters": 4}
    defaults = {"epochs": 1, "options": options, **changes}
    return TrainConfig(model, str(data / "texts.csv"), out, **defaults)


def test_word_vectors_are_what_a_network_starts_from(data: Path, tmp_path: Path) -> None:
    """Of the multichannel form one channel stays as the file has it."""
    file = tmp_path / "glove.txt"
    file.write_text("the 1 2 3 4\ncat 5 6 7 8\nrain 1.5 -2 0 1\n")
    folder = train(texts(tmp_path / "run", data, word_vectors=file, epochs=2))
    report = json.loads((folder / "report.json").read_text())["word_vectors"]
    assert (report["dimension"], report["words_found"]) == (4, 3)
    assert 0 < report["tokens_found"] < report["tokens"]
    assert report["missing"]
    run = Run.open(folder)
    static, trained = (convert_to_numpy(e.embeddings) for e in run.trained_model().embeddings)
    cat = 2 + run.config["preprocessing"]["vocabulary"].index("cat")
    assert static[cat].tolist() == [5, 6, 7, 8]
    assert trained[cat].tolist() != [5, 6, 7, 8]
    np.testing.assert_allclose(trained[cat], [5, 6, 7, 8], atol=0.5)
    assert not static[0].any()
    assert not trained[0].any()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, "starts from word vectors: give it a file by --word-vectors"),
        ({"model": "kim_cnn", "options": {"form": "static"}}, "starts from word vectors"),
        ({"model": "vdcnn_9", "word_vectors": Path("a.bin")}, "vdcnn_9 reads no words"),
        ({"word_vectors": Path("a.bin"), "options": {"embedding_dim": 7}}, "leave embedding_dim"),
    ],
)
def test_word_vectors_that_are_missing_or_of_no_use(changes, reason, data, tmp_path) -> None:
    with pytest.raises(RunError, match=reason):
        train(texts(tmp_path / "run", data, **changes))


@pytest.mark.parametrize(("unit", "size"), [(None, 70), ("character", 3), ("word", 2)])
def test_a_network_over_characters_brings_its_alphabet(unit, size, tmp_path: Path) -> None:
    """And takes the data's own tokens where --unit says so."""
    inputs = preprocessing_for(TrainConfig("char_cnn_small", "", tmp_path, unit=unit), "text")
    assert len(inputs.fit(["ab c", "c"]).get_config()["vocabulary"]) == size
    assert inputs.example_spec.shape == (1014,)
    assert inputs.get_config()["backwards"]
