"""What is answered and what is refused, by a real gRPC client, on SavedModels made by hand."""

import asyncio
import math

import numpy as np
import pytest

from protos.triptych.v1 import manifest_pb2
from protos.triptych.v1.classifier_pb2 import (
    ClassifyRequest,
    GetModelRequest,
    Input,
    ListModelsRequest,
    VersionStatus,
)
from tests.serving.server_fixtures import DOMAINS, Status, refused, running, scores_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

# What is answered


@pytest.mark.parametrize("domain", DOMAINS)
async def test_scores_are_those_of_tensorflow(client, tiny, domain) -> None:
    items = [tiny.item(domain, seed) for seed in range(6)]
    response = await client.classify(domain, *items, top_k=100)
    assert (response.model, response.version) == (domain, 1)
    for i, item in enumerate(items):
        np.testing.assert_allclose(scores_of(response, i), tiny.scores(domain, item), atol=1e-5)
        labels = response.results[i].labels
        assert [label.label for label in labels] == [
            tiny.labels[domain][label.class_id] for label in labels
        ]
        assert [label.score for label in labels] == sorted(
            (label.score for label in labels), reverse=True
        )
        assert not response.results[i].HasField("error")
    timing = response.timing
    assert 0 < timing.predict_us < timing.total_us
    assert 0 < timing.preprocess_us < timing.total_us


async def test_text_may_come_as_text_or_as_bytes(client, tiny) -> None:
    text = "ça va? 你好"
    as_text = await client.classify("text", text)
    as_bytes = await client.classify("text", text.encode())
    np.testing.assert_array_equal(scores_of(as_text), scores_of(as_bytes))
    np.testing.assert_allclose(scores_of(as_text), tiny.scores("text", text), atol=1e-5)


async def test_top_k_and_min_score(client, tiny) -> None:
    item = tiny.item("image", 3)
    everything = (await client.classify("image", item, top_k=6)).results[0].labels
    five = (await client.classify("image", item)).results[0].labels
    assert list(five) == list(everything)[:5]
    two = (await client.classify("image", item, top_k=2)).results[0].labels
    assert list(two) == list(everything)[:2]
    third = everything[2].score
    good = (await client.classify("image", item, top_k=6, min_score=third)).results[0].labels
    assert list(good) == list(everything)[:3]
    none = await client.classify("image", item, min_score=1.0)
    assert not none.results[0].labels
    assert not none.results[0].HasField("error")


async def test_company_changes_no_score(client, tiny) -> None:
    """Many models, shapes and callers at once, batched as it comes."""
    requests = [(DOMAINS[i % 3], tiny.item(DOMAINS[i % 3], i)) for i in range(64)]
    alone = [scores_of(await client.classify(d, item, top_k=6)) for d, item in requests]
    pictures = [item for domain, item in requests if domain == "image"][:8]
    *together, many = await asyncio.gather(
        *(client.classify(d, item, top_k=6) for d, item in requests),
        client.classify("image", *pictures, top_k=6),  # several at a time, however fast they go
    )
    for index, item in enumerate(pictures):
        np.testing.assert_allclose(scores_of(many, index), tiny.scores("image", item), atol=1e-5)
    for response, (domain, item), wanted in zip(together, requests, alone, strict=True):
        np.testing.assert_allclose(scores_of(response), wanted, atol=1e-5)
        np.testing.assert_allclose(scores_of(response), tiny.scores(domain, item), atol=1e-5)
    status, metrics = await client.http("/metrics")
    assert status == 200
    batches, inputs = (
        float(line.split()[1])
        for line in metrics.splitlines()
        if line.startswith(
            ('triptych_batch_size_count{model="i', 'triptych_batch_size_sum{model="i')
        )
    )
    assert batches < inputs


async def test_one_bad_input_of_many_takes_nothing_from_the_others(client, tiny) -> None:
    good = tiny.item("image", 1)
    response = await client.classify("image", good, b"not a picture", good, "a text", top_k=6)
    wanted = tiny.scores("image", good)
    np.testing.assert_allclose(scores_of(response, 0), wanted, atol=1e-5)
    np.testing.assert_allclose(scores_of(response, 2), wanted, atol=1e-5)
    for i, reason in ((1, "not a picture"), (3, "a text was sent")):
        assert response.results[i].error.code == Status.INVALID_ARGUMENT.value[0]
        assert reason in response.results[i].error.message
        assert not response.results[i].labels


async def test_list_models(client, tiny) -> None:
    answer = await client.stub.ListModels(ListModelsRequest())
    assert [(m.name, m.domain, list(m.versions), m.classes) for m in answer.models] == [
        ("audio", manifest_pb2.DOMAIN_AUDIO, [1], 3),
        ("image", manifest_pb2.DOMAIN_IMAGE, [1], 6),
        ("text", manifest_pb2.DOMAIN_TEXT, [1], 2),
    ]


async def test_get_model(client, tiny) -> None:
    answer = await client.stub.GetModel(GetModelRequest(model="image", version=1))
    assert answer.name == "image"
    assert list(answer.manifest.labels) == tiny.labels["image"]
    assert answer.manifest.input.image.height == 8
    (version,) = answer.versions
    assert (version.version, version.state) == (1, VersionStatus.READY)
    assert (version.reason, version.executor) == ("", "openvino")


async def test_the_other_executor(tiny, tmp_path) -> None:
    tiny.publish(tmp_path, "text")
    async with running(tmp_path, executor="tensorflow") as client:
        assert (await client.versions("text"))[1].executor == "tensorflow"
        item = tiny.item("text", 7)
        response = await client.classify("text", item)
        np.testing.assert_allclose(scores_of(response), tiny.scores("text", item), atol=1e-5)


# What is refused


@pytest.mark.parametrize(
    ("request_", "code", "told"),
    [
        (
            ClassifyRequest(model="imgae", inputs=[Input(text="x")]),
            Status.NOT_FOUND,
            ["'imgae'", "Did you mean 'image'?", "audio, image, text"],
        ),
        (
            ClassifyRequest(model="image", version=7, inputs=[Input(text="x")]),
            Status.NOT_FOUND,
            ["'image' has no version 7", "It has 1"],
        ),
        (
            ClassifyRequest(inputs=[Input(text="x")]),
            Status.NOT_FOUND,
            ["audio, image, text"],
        ),
        (ClassifyRequest(model="text"), Status.INVALID_ARGUMENT, ["no inputs"]),
        (
            ClassifyRequest(model="text", inputs=[Input(text="x")], top_k=0),
            Status.INVALID_ARGUMENT,
            ["top_k is 0"],
        ),
        (
            ClassifyRequest(model="text", inputs=[Input(text="x")], top_k=-3),
            Status.INVALID_ARGUMENT,
            ["top_k is -3"],
        ),
        *(
            (
                ClassifyRequest(model="text", inputs=[Input(text="x")], min_score=score),
                Status.INVALID_ARGUMENT,
                ["min_score"],
            )
            for score in (-0.1, 1.5, math.nan)
        ),
        (
            ClassifyRequest(model="text", inputs=[Input()]),
            Status.INVALID_ARGUMENT,
            ["input 0: ", "neither data nor text"],
        ),
        (
            ClassifyRequest(model="image", inputs=[Input(data=b"not a picture")]),
            Status.INVALID_ARGUMENT,
            ["input 0: not a picture", "send JPEG"],
        ),
        (
            ClassifyRequest(model="audio", inputs=[Input(text="x"), Input(data=b"?")]),
            Status.INVALID_ARGUMENT,
            ["input 0: ", "takes audio", "(1 more of 2 inputs failed)"],
        ),
    ],
    ids=lambda value: value.name if isinstance(value, Status) else "",
)
async def test_what_cannot_be_answered_says_why(client, request_, code, told) -> None:
    found, message = await refused(client.stub.Classify(request_))
    assert found is code
    for words in told:
        assert words in message


async def test_get_model_of_what_is_not_there(client) -> None:
    code, message = await refused(client.stub.GetModel(GetModelRequest(model="none")))
    assert (code, "audio, image, text" in message) == (Status.NOT_FOUND, True)
    code, message = await refused(client.stub.GetModel(GetModelRequest(model="text", version=2)))
    assert (code, "It has 1" in message) == (Status.NOT_FOUND, True)


async def test_a_mistake_of_ours_is_not_told(tiny, tmp_path) -> None:
    """A network that fails on short sounds: the caller gets a number, and others their answer."""
    tiny.publish(tmp_path, "audio")
    async with running(tmp_path, executor="tensorflow") as client:
        code, message = await refused(client.classify("audio", tiny.short_sound()))
        assert code is Status.INTERNAL
        assert message.startswith("input 0: internal error, see the server's log (id ")
        response = await client.classify("audio", tiny.short_sound(), tiny.item("audio"))
        assert response.results[0].error.code == Status.INTERNAL.value[0]
        assert response.results[1].labels
