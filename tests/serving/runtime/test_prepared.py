"""A version that was opened before is opened by what was kept of it, and is the same version.

That TensorFlow loads nothing else shows where the version's folder has gone: what needs more of it
says so, and the rest is answered.
"""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from serving.errors import BadVersion, ModelUnavailable
from serving.runtime.cache import Cache
from serving.runtime.endpoint import Tensors
from serving.runtime.manifest import artefact_digest
from serving.runtime.opening import Wish
from serving.runtime.prepared import Prepared, is_kept, keep
from serving.runtime.saved_model import CLOSED_FOR_A_SWEEP, SavedModel
from serving.runtime.servable import Servable

DOMAINS = ["image", "audio", "text"]


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def load(folder: Path, cache: Cache, executor: str = "openvino") -> Servable:
    return Servable.load(folder, wish=Wish(executor, seconds=0), cache=cache)


def encoded(item: bytes | str) -> Tensors:
    return {"inputs": np.array([item.encode() if isinstance(item, str) else item], object)}


@pytest.mark.parametrize("domain", DOMAINS)
def test_it_is_the_version_that_was_kept(tiny, tmp_path, cache, domain) -> None:
    folder = tiny.publish(tmp_path, domain)
    first = load(folder, Cache(None))
    load(folder, cache).close()
    second = load(folder, cache)
    second.check_golden()
    assert second.endpoints == first.endpoints
    assert second.own_endpoints == first.own_endpoints
    assert second.report.notes == first.report.notes
    for seed in range(20):
        item = tiny.item(domain, seed)
        examples = [servable.preprocess(servable.decode(item)) for servable in (first, second)]
        np.testing.assert_array_equal(*examples)
        scores = [one.predict(examples[0][np.newaxis]).scores for one in (first, second)]
        np.testing.assert_array_equal(*scores)


@pytest.mark.parametrize("times", [1, 2])
def test_it_needs_nothing_else_of_the_folder(tiny, tmp_path, cache, times) -> None:
    """Be it that it was kept just now."""
    folder = tiny.publish(tmp_path, "image")
    for _ in range(times):
        servable = load(folder, cache)
    shutil.rmtree(folder)
    servable.check_golden()
    with pytest.raises(ModelUnavailable, match=r"image version 1 is loaded, but.*No such file"):
        servable.run("classify", encoded(tiny.item("image")))
    servable.check_golden()


def test_another_endpoint_loads_the_whole(tiny, tmp_path, cache) -> None:
    folder = tiny.publish(tmp_path, "image")
    load(folder, cache).close()
    servable = load(folder, cache)
    item = tiny.item("image", 5)
    wanted = tf.saved_model.load(str(folder)).signatures["classify"](
        inputs=tf.constant(encoded(item)["inputs"])
    )
    shutil.copytree(folder, tmp_path / "copy")
    given = servable.run("classify", encoded(item))
    np.testing.assert_array_equal(given["scores"], wanted["scores"])
    shutil.rmtree(folder)  # once is enough
    again = servable.run("classify", encoded(item))
    np.testing.assert_array_equal(again["scores"], wanted["scores"])


def test_another_version_in_its_place_does_not_answer_for_it(tiny, tmp_path, cache) -> None:
    folder = tiny.publish(tmp_path, "image")
    load(folder, cache).close()
    servable = load(folder, cache)
    shutil.rmtree(folder)
    tiny.publish(tmp_path, "image", seed=1)
    with pytest.raises(ModelUnavailable, match="changed since"):
        servable.run("classify", encoded(tiny.item("image")))
    item = tiny.item("image", 3)
    scores = servable.predict(servable.preprocess(servable.decode(item))[np.newaxis]).scores[0]
    np.testing.assert_allclose(scores, tiny.scores("image", item), atol=1e-4)


def test_a_spoilt_folder_does_not_answer_for_it_either(tiny, tmp_path, cache) -> None:
    folder = tiny.publish(tmp_path, "image")
    load(folder, cache).close()
    servable = load(folder, cache)
    path = next((folder / "variables").glob("*.data*"))
    path.write_bytes(bytes(byte ^ 1 for byte in path.read_bytes()))
    with pytest.raises(ModelUnavailable, match="not the file that was exported"):
        servable.run("classify", encoded(tiny.item("image")))


@pytest.mark.parametrize("domain", DOMAINS)
def test_an_executor_is_opened_that_was_not_before(tiny, tmp_path, cache, domain) -> None:
    folder = tiny.publish(tmp_path, domain)
    load(folder, cache).close()
    servable = load(folder, cache, "tensorflow")
    assert servable.executor_name == "tensorflow"
    servable.check_golden()
    item = tiny.item(domain, 4)
    given = servable.run("classify", encoded(item))["scores"][0]
    np.testing.assert_allclose(given, tiny.scores(domain, item), atol=1e-4)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_what_is_cut_short_is_made_anew(tiny, tmp_path, cache, share) -> None:
    folder = tiny.publish(tmp_path, "audio")
    load(folder, cache).close()
    (archive,) = [path for path in cache.folder.iterdir() if path.read_bytes()[:2] == b"PK"]
    whole = archive.read_bytes()
    archive.write_bytes(whole[: int(len(whole) * share)])
    servable = load(folder, cache)
    servable.check_golden()
    digest = artefact_digest(servable.manifest)
    assert Prepared.recall(folder, digest, cache) is not None


def test_what_cannot_be_kept_is_served(tiny, tmp_path, cache, monkeypatch) -> None:
    """Where there is no room for temporary files, say: for OpenVINO there was, and then no more."""
    folder = tiny.publish(tmp_path, "image")
    load(folder, cache).close()
    (archive,) = [path for path in cache.folder.iterdir() if path.read_bytes()[:2] == b"PK"]
    archive.unlink()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    servable = load(folder, cache)
    servable.check_golden()
    assert not is_kept(artefact_digest(servable.manifest), cache)


def test_without_a_cache_nothing_is_kept(tiny, tmp_path) -> None:
    folder = tiny.publish(tmp_path, "image")
    servable = load(folder, Cache(None))
    shutil.rmtree(folder)
    servable.check_golden()
    assert servable.run("classify", encoded(tiny.item("image")))["scores"].shape == (1, 6)


def test_of_what_tensorflow_computes_nothing_is_kept(tiny, tmp_path, cache) -> None:
    folder = tiny.publish(tmp_path, "image")
    servable = load(folder, cache, "tensorflow")
    assert not is_kept(artefact_digest(servable.manifest), cache)


class Preprocessing(tf.Module):
    """All that a graph can hold on to: a variable, a table, an array."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = tf.Variable([2.0, 3.0])
        words = tf.lookup.KeyValueTensorInitializer(["cat", "dog"], [7.0, 8.0])
        self.table = tf.lookup.StaticHashTable(words, 1.0)
        self.unused = tf.Variable(tf.zeros([1000, 1000]))
        self.offset = tf.constant(np.arange(5000, dtype=np.float32))

    @tf.function(input_signature=[tf.TensorSpec([2], tf.string, "words")])
    def preprocess(self, words: tf.Tensor) -> dict[str, tf.Tensor]:
        values = self.table.lookup(words) * self.scale
        return {"example": values + self.offset[-1], "count": tf.size(words)}

    @tf.function(input_signature=[tf.TensorSpec([], tf.float32, "x")])
    def other(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": self.unused[0, 0] + x}


def test_an_endpoint_takes_along_what_it_uses_and_no_more(tmp_path, cache) -> None:
    module, folder = Preprocessing(), tmp_path / "1"
    signatures = {"preprocess": module.preprocess, "other": module.other}
    tf.saved_model.save(module, str(folder), signatures=signatures)
    whole = SavedModel(folder)
    keep(whole, "digest", cache)
    prepared = Prepared.recall(folder, "digest", cache)
    words = {"words": np.array([b"cat", b"bird"], object)}
    given, wanted = prepared.call("preprocess")(words), whole.call("preprocess")(words)
    assert given.keys() == wanted.keys() == {"example", "count"}
    np.testing.assert_array_equal(given["example"], [7 * 2 + 4999, 1 * 3 + 4999])
    np.testing.assert_array_equal(given["count"], wanted["count"])
    assert prepared.endpoints == whole.endpoints
    assert sum(path.stat().st_size for path in cache.folder.iterdir()) < module.unused.shape[0] ** 2


def test_a_network_that_is_not_whole_is_refused(tmp_path) -> None:
    module = Preprocessing()
    tf.saved_model.save(module, str(tmp_path / "1"), signatures={"preprocess": module.preprocess})
    with pytest.raises(BadVersion, match="no predict and no classify endpoint"):
        SavedModel(tmp_path / "1").require(["preprocess", "predict", "classify"])


def test_closing_frees_the_tables(tmp_path) -> None:
    """Which TensorFlow would keep for good. Variables it frees itself, with who holds them."""
    module, folder = Preprocessing(), tmp_path / "1"
    tf.saved_model.save(module, str(folder), signatures={"preprocess": module.preprocess})
    saved_model = SavedModel(folder)
    held = saved_model.signature("preprocess")
    (table,) = [
        tensor
        for tensor in held.captured_inputs
        if tensor.dtype == tf.resource and not _is_variable(tensor)
    ]
    assert tf.raw_ops.LookupTableSizeV2(table_handle=table) == 2
    saved_model.close()
    with pytest.raises(tf.errors.NotFoundError):
        tf.raw_ops.LookupTableSizeV2(table_handle=table)
    (variable,) = held.graph.variables
    np.testing.assert_array_equal(variable, [2, 3])


@pytest.mark.parametrize("domain", DOMAINS)
def test_what_is_closed_leaves_the_others_alone(tiny, tmp_path, cache, domain) -> None:
    """As often as all that TensorFlow keeps of calls is thrown away, too."""
    folder = tiny.publish(tmp_path, domain)
    servable = load(folder, cache)
    decoded = servable.decode(tiny.item(domain, 3))
    wanted = servable.preprocess(decoded)
    for _ in range(CLOSED_FOR_A_SWEEP + 1):
        other = load(folder, cache)
        np.testing.assert_array_equal(other.preprocess(decoded), wanted)
        other.close()
        np.testing.assert_array_equal(servable.preprocess(decoded), wanted)


def _is_variable(tensor: tf.Tensor) -> bool:
    return bool(tf.raw_ops.VarIsInitializedOp(resource=tensor))
