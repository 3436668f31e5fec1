"""The model repository by unmodified tritonclient; version labels; a model of others."""

import grpc
import numpy as np
import pytest

from tests.serving.protocols.open_inference_fixtures import (
    denied,
    encoded,
    floats,
    oip_running,
    tensor,
)

Status = grpc.StatusCode


def states(index) -> list[tuple[str, str, str]]:
    return [(model.name, model.version, model.state) for model in index.models]


async def test_unload_and_load(tiny, tmp_path) -> None:
    for domain in ("image", "text"):
        tiny.publish(tmp_path, domain)
    async with oip_running(tmp_path) as oip:
        client = oip.client
        image, text = ("image", "1", "READY"), ("text", "1", "READY")
        assert states(await client.get_model_repository_index()) == [image, text]
        await client.unload_model("text")
        told = (await client.get_model_repository_index()).models[1]
        assert (told.state, told.reason != "") == ("UNAVAILABLE", True)
        ready = await oip.stub.RepositoryIndex(_index_request(ready=True))
        assert states(ready) == [image]
        assert (await denied(client.infer("text", [encoded("x")])))[0] is Status.NOT_FOUND
        await client.load_model("text")
        assert states(await client.get_model_repository_index()) == [image, text]
        assert await client.is_model_ready("text")


async def test_a_client_brings_no_models(tiny, tmp_path) -> None:
    """Neither files nor a configuration: what is served is what the operator put there."""
    tiny.publish(tmp_path, "text")
    async with oip_running(tmp_path) as oip:
        before = sorted(tmp_path.rglob("*"))
        for parameters in (
            {"config": '{"max_batch_size": 7}'},
            {"config": "{}", "files": {"file:../../9/saved_model.pb": b"graph"}},
        ):
            code, message = await denied(oip.client.load_model("text", **parameters))
            assert code is Status.UNIMPLEMENTED
            assert "put the version into the server's repository as NAME/VERSION/" in message
        assert sorted(tmp_path.rglob("*")) == before
        assert (await oip.client.get_model_metadata("text")).versions == ["1"]


async def test_what_cannot_be_loaded_says_why(tiny, tmp_path) -> None:
    tiny.publish(tmp_path, "text", change=tiny.spoil_golden)
    async with oip_running(tmp_path) as oip:
        code, message = await denied(oip.client.load_model("text"))
        assert code is Status.FAILED_PRECONDITION
        assert message.startswith("failed to load 'text', ")
        assert "golden scores" in message
        for call in (oip.client.load_model("none"), oip.client.unload_model("none")):
            code, message = await denied(call)
            assert (code, "'none'" in message) == (Status.NOT_FOUND, True)
        (told,) = (await oip.client.get_model_repository_index()).models
        assert (told.state, "golden scores" in told.reason) == ("UNAVAILABLE", True)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await oip.stub.RepositoryIndex(_index_request(repository_name="mine"))
        assert caught.value.code() is Status.UNIMPLEMENTED


async def test_a_version_may_be_a_label(tiny, tmp_path) -> None:
    tiny.publish(tmp_path, "text", 1)
    tiny.publish(tmp_path, "text", 2, seed=1)
    (tmp_path / "text" / "model.toml").write_text(
        'version_policy = "all"\nlabels = {stable = 1, canary = 2, lost = 3}\n'
    )
    async with oip_running(tmp_path) as oip:
        served = {}
        for version in ("", "1", "2", "stable", "canary"):
            result = await oip.client.infer("text", [encoded("x")], model_version=version)
            served[version] = result.get_response().model_version
            assert await oip.client.is_model_ready("text", version)
        assert served == {"": "2", "1": "1", "2": "2", "stable": "1", "canary": "2"}
        assert (await oip.client.get_model_metadata("text", "stable")).versions == ["1", "2"]
        (told,) = (await oip.client.get_inference_statistics("text", "canary")).model_stats
        assert told.version == "2"
        code, message = await denied(oip.client.is_model_ready("text", "lost"))
        assert code is Status.UNAVAILABLE
        assert message.startswith("'text' version lost is not at ready state: ")
        code, message = await denied(oip.client.is_model_ready("text", "newest"))
        assert code is Status.INVALID_ARGUMENT
        assert "It has canary, lost, stable" in message


async def test_a_model_of_others_is_served_as_it_is(tmp_path) -> None:
    """Without a batch, of other types, with a NaN, which is no mistake here."""
    import tensorflow as tf

    module = tf.Module()

    @tf.function(
        input_signature=[
            tf.TensorSpec([3], tf.float16, "a"),
            tf.TensorSpec([], tf.bool, "b"),
            tf.TensorSpec([None], tf.string, "c"),
        ]
    )
    def serve(a, b, c):
        return {
            "a": tf.where(b, a, -a),
            "c": tf.strings.upper(c),
            "n": tf.cast(tf.size(c), tf.uint8),
        }

    tf.saved_model.save(module, str(tmp_path / "odd" / "5"), signatures={"serve": serve})
    async with oip_running(tmp_path) as oip:
        config = (await oip.client.get_model_config("odd")).config
        assert (config.max_batch_size, config.HasField("dynamic_batching")) == (0, False)
        assert [(i.name, list(i.dims)) for i in config.input] == [
            ("a", [3]),
            ("b", []),
            ("c", [-1]),
        ]
        result = await oip.client.infer(
            "odd",
            [
                tensor("c", np.array([b"x", b"yz"], object)),
                tensor("a", np.array([1, np.nan, 2], np.float16)),
                tensor("b", np.array(False)),
            ],
        )
        assert result.get_response().model_version == "5"
        np.testing.assert_array_equal(result.as_numpy("a"), np.array([-1, np.nan, -2], "f2"))
        assert result.as_numpy("a").dtype == np.float16
        assert result.as_numpy("c").tolist() == [b"X", b"YZ"]
        assert (result.as_numpy("n").dtype, int(result.as_numpy("n"))) == (np.uint8, 2)


async def test_a_batch_may_be_larger_than_one_that_is_computed(tiny, tmp_path) -> None:
    tiny.publish(tmp_path, "image")
    async with oip_running(tmp_path, max_batch_size=4) as oip:
        examples = floats(11, 8, 8, 3)
        config = (await oip.client.get_model_config("image")).config
        assert list(config.dynamic_batching.preferred_batch_size) == [4]
        assert config.max_batch_size > 11
        together = await oip.client.infer("image", [tensor("examples", examples)])
        for index in range(11):
            alone = await oip.client.infer("image", [tensor("examples", examples[index][None])])
            np.testing.assert_allclose(
                alone.as_numpy("scores")[0], together.as_numpy("scores")[index], atol=1e-5
            )


def _index_request(**fields: object):
    from tritonclient.grpc import service_pb2

    return service_pb2.RepositoryIndexRequest(**fields)
