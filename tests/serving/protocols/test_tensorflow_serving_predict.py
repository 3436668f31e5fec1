"""Predict, by the unmodified client of TensorFlow Serving against a whole server."""

import asyncio

import grpc
import numpy as np
import pytest
import pytest_asyncio
import tensorflow as tf
from tensorflow_serving.apis.predict_pb2 import PredictRequest

from serving.protocols.tensorflow_serving_status import CUT, MAX_CHARACTERS
from tests.serving.accounts import account_of
from tests.serving.protocols.tensorflow_serving_fixtures import WEIGHTS, serving, spec
from tests.serving.server_fixtures import PATIENT_US, refused

pytestmark = pytest.mark.asyncio(loop_scope="module")

Status = grpc.StatusCode
NUMBERED = {"queue-us", "decode-us", "compute-us"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tiny, tmp_path_factory):
    async with serving(
        tiny,
        tmp_path_factory.mktemp("repository"),
        max_inputs_per_request=8,
        max_request_bytes=500_000,
    ) as served:
        yield served


def request(model_spec, *wanted: str, **inputs) -> PredictRequest:
    message = PredictRequest(model_spec=model_spec, output_filter=wanted)
    for name, value in inputs.items():
        is_proto = isinstance(value, tf.make_tensor_proto([1]).__class__)
        message.inputs[name].CopyFrom(value if is_proto else tf.make_tensor_proto(value))
    return message


def arrays(response) -> dict[str, np.ndarray]:
    return {name: tf.make_ndarray(proto) for name, proto in response.outputs.items()}


def rows(n: int = 2) -> dict[str, np.ndarray]:
    x = np.arange(3 * n, dtype=np.float32).reshape(n, 3)
    return {"x": x, "b": np.ones((n, 2), np.float32)}


# What is answered


async def test_tensors_of_a_foreign_model(served) -> None:
    given = rows(3)
    response = await served.predictions.Predict(request(spec(), **given))
    assert response.model_spec == spec(version=1, signature="serving_default")
    outputs = arrays(response)
    assert outputs.keys() == {"y", "sum"}
    np.testing.assert_allclose(outputs["y"], given["x"] @ WEIGHTS + 1)
    np.testing.assert_allclose(outputs["sum"], given["x"].sum(1))


async def test_only_the_outputs_that_are_wanted(served) -> None:
    response = await served.predictions.Predict(request(spec(), "sum", **rows()))
    assert arrays(response).keys() == {"sum"}


@pytest.mark.parametrize("signature", ["", "serving_default", "classify"])
@pytest.mark.parametrize("domain", ["image", "audio", "text"])
async def test_files_and_texts_of_our_own(served, tiny, domain, signature) -> None:
    items = [tiny.item(domain, seed) for seed in range(3)]
    inputs = np.array([i.encode() if isinstance(i, str) else i for i in items], object)
    message = request(spec(domain, signature, version=1), inputs=inputs)
    outputs = arrays(await served.predictions.Predict(message))
    assert outputs.keys() == {"classes", "scores"}
    for i, item in enumerate(items):
        np.testing.assert_allclose(outputs["scores"][i], tiny.scores(domain, item), atol=1e-5)
        assert [label.decode() for label in outputs["classes"][i]] == tiny.labels[domain]


async def test_tensors_of_our_own(served, tiny) -> None:
    examples = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)
    outputs = arrays(
        await served.predictions.Predict(request(spec("image", "predict"), examples=examples))
    )
    assert {name: value.shape for name, value in outputs.items()} == {
        "logits": (2, 6),
        "scores": (2, 6),
    }
    np.testing.assert_allclose(outputs["scores"].sum(1), 1, rtol=1e-5)
    alone = request(spec("image", "predict"), "logits", examples=examples[:1])
    logits = arrays(await served.predictions.Predict(alone))["logits"]
    np.testing.assert_allclose(logits, outputs["logits"][:1], atol=1e-5)


async def test_an_endpoint_without_batches(served) -> None:
    pixels = np.zeros((5, 9, 3), np.uint8)
    outputs = arrays(
        await served.predictions.Predict(request(spec("image", "preprocess"), image=pixels))
    )
    np.testing.assert_allclose(outputs["example"], np.full((8, 8, 3), -1))


@pytest.mark.parametrize(
    ("signature", "inputs"),
    [
        (
            "kinds",
            {
                "f16": np.array([0.5, -1], np.float16),
                "i64": np.array([2**40, -3], np.int64),
                "u8": np.array([0, 255], np.uint8),
                "bit": np.array([True, False]),
            },
        ),
        ("scalar", {"x": np.float32(3)}),
        ("complex", {"x": np.array([1 + 2j], np.complex64)}),
        ("echo", {"text": np.array([b"a\0b", b"", b"\xff"], object)}),
    ],
)
async def test_every_type_arrives(served, signature, inputs) -> None:
    outputs = arrays(await served.predictions.Predict(request(spec(signature=signature), **inputs)))
    if signature == "kinds":
        for name, value in inputs.items():
            np.testing.assert_array_equal(outputs[name], value)
    elif signature == "echo":
        np.testing.assert_array_equal(outputs["raw_bytes"], inputs["text"])
    else:
        np.testing.assert_array_equal(outputs["y"], inputs["x"] * 2)


async def test_a_long_list_of_integers(served) -> None:
    """Which is read in a thread."""
    proto = tf.make_tensor_proto(np.zeros(0, np.uint8))
    proto.tensor_shape.dim[0].size = 60_000
    proto.int_val.extend(i % 256 for i in range(60_000))
    one = tf.make_tensor_proto(0, tf.int64, [60_000])
    bits = tf.make_tensor_proto(True, shape=[60_000])
    halves = tf.make_tensor_proto(0.5, tf.float16, [60_000])
    signature = spec(signature="kinds")
    message = request(signature, "u8", u8=proto, i64=one, bit=bits, f16=halves)
    response = await served.predictions.Predict(message)
    np.testing.assert_array_equal(arrays(response)["u8"], np.arange(60_000) % 256)


async def test_one_value_for_a_whole_batch(served) -> None:
    """As clients send what is the same everywhere: TensorFlow repeats it."""
    zeros = tf.make_tensor_proto(0.5, shape=[2, 8, 8, 3])
    whole = np.full((2, 8, 8, 3), 0.5, np.float32)
    short, full = [
        arrays(await served.predictions.Predict(request(spec("image", "predict"), examples=given)))
        for given in (zeros, whole)
    ]
    np.testing.assert_allclose(short["logits"], full["logits"], atol=1e-5)


@pytest.mark.parametrize(
    ("model_spec", "version"),
    [
        (spec("image", "predict"), 2),
        (spec("image", "predict", version=1), 1),
        (spec("image", "predict", label="stable"), 1),
        (spec("image", "predict", label="2"), 2),  # as perf_analyzer says a version
    ],
)
async def test_versions_and_labels(served, model_spec, version) -> None:
    examples = np.zeros((1, 8, 8, 3), np.float32)
    response = await served.predictions.Predict(request(model_spec, examples=examples))
    assert response.model_spec == spec("image", "predict", version=version)


async def test_company_changes_no_answer(served) -> None:
    given = [rows(1 + i % 3) for i in range(32)]
    responses = await asyncio.gather(
        *(served.predictions.Predict(request(spec(), **each)) for each in given)
    )
    for response, each in zip(responses, given, strict=True):
        np.testing.assert_allclose(arrays(response)["y"], each["x"] @ WEIGHTS + 1)


async def test_the_account_is_in_trailing_metadata(served) -> None:
    call = served.predictions.Predict(request(spec(), **rows(3)))
    await call
    account = account_of(await call.trailing_metadata())
    assert all(account[key].isdigit() for key in NUMBERED)
    assert account["batch-size"] == "3"
    assert account["version"] == "1"
    assert account["executor"] == "openvino"


# What is refused

NOT_FOUND, INVALID = Status.NOT_FOUND, Status.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("message", "code", "told"),
    [
        (PredictRequest(), INVALID, "Missing ModelSpec"),
        (request(spec("")), INVALID, "ModelSpec has no name specified."),
        (request(spec("foo")), NOT_FOUND, "Servable not found for request: Latest(foo)"),
        (
            request(spec("foo", version=7)),
            NOT_FOUND,
            "Servable not found for request: Specific(foo, 7)",
        ),
        (
            request(spec("image", version=7)),
            NOT_FOUND,
            "Servable not found for request: Specific(image, 7)",
        ),
        (
            request(spec("image", label="7")),
            NOT_FOUND,
            "Servable not found for request: Specific(image, 7)",
        ),
        (
            request(spec("image", label="beta")),
            INVALID,
            "Unrecognized servable version label: beta",
        ),
        (
            request(spec("foo", label="beta")),
            INVALID,
            "Unrecognized servable version label: beta",
        ),
        (
            request(spec(signature="x")),
            Status.FAILED_PRECONDITION,
            'Serving signature key "x" not found.',
        ),
        (
            request(spec(signature="scalar")),
            INVALID,
            "input size does not match signature: 0!=1 len({}) != len({x}). Sent extra: {}. "
            "Missing but required: {x}.",
        ),
        (
            request(spec(), x=[1.0], c=[1.0], d=[1.0]),
            INVALID,
            "input size does not match signature: 3!=2 len({c,d,x}) != len({b,x}). Sent extra: "
            "{c,d}. Missing but required: {b}.",
        ),
        (
            request(spec(signature="scalar"), z=1.0),
            INVALID,
            "Signature input alias: x(feed name: scalar_x:0) not found in request and no default "
            "value provided. Inputs expected to be in the request {z}",
        ),
        (
            request(spec(), "y", "q", **rows()),
            INVALID,
            "output tensor alias not found in signature: q Outputs expected to be in the set "
            "{sum,y}.",
        ),
        (
            request(spec(), "y", "y", **rows()),
            INVALID,
            "duplicate output tensor alias: y",
        ),
        (
            request(spec(signature="scalar"), x=tf.make_tensor_proto(0.0, shape=[2**62])),
            INVALID,
            "tensor parsing error: x: ",
        ),
    ],
)
async def test_refusals_say_what_the_reference_says(served, message, code, told) -> None:
    found, details = await refused(served.predictions.Predict(message))
    assert (found, details[: len(told)]) == (code, told)


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        ({"x": np.zeros((2, 4), np.float32)}, ["'x'", "float32 [2, 4]", "float32 [any, 3]"]),
        ({"x": np.zeros((2, 3))}, ["'x'", "float64 [2, 3]", "float32 [any, 3]"]),
        ({"x": np.zeros((3, 3), np.float32)}, ["x: 3", "b: 2"]),
        ({"x": np.zeros((0, 3), np.float32), "b": np.zeros((0, 2), np.float32)}, ["empty"]),
    ],
)
async def test_tensors_that_do_not_fit_are_refused(served, inputs, told) -> None:
    code, details = await refused(served.predictions.Predict(request(spec(), **rows() | inputs)))
    assert code is INVALID
    assert all(part in details for part in told)


async def test_a_file_that_is_none_is_refused(served, tiny) -> None:
    inputs = np.array([tiny.item("image"), b"no picture"], object)
    code, details = await refused(served.predictions.Predict(request(spec("image"), inputs=inputs)))
    assert (code, "input 1" in details) == (INVALID, True)


async def test_as_many_files_as_a_request_may_have(served) -> None:
    many = tf.make_tensor_proto("a", shape=[9])
    code, details = await refused(served.predictions.Predict(request(spec("text"), inputs=many)))
    assert (code, "9 inputs, and 8 are allowed" in details) == (INVALID, True)


async def test_a_label_of_what_is_not_ready_is_unavailable(served) -> None:
    code, details = await refused(
        served.predictions.Predict(request(spec("image", label="canary")))
    )
    assert (code, "not in the repository" in details) == (Status.UNAVAILABLE, True)


async def test_long_texts_are_cut(served) -> None:
    name = "é" * 2000
    _, details = await refused(served.predictions.Predict(request(spec(signature=name))))
    assert details.endswith(CUT)
    assert MAX_CHARACTERS - 3 < len(details.encode()) - len(CUT) <= MAX_CHARACTERS


async def test_a_full_queue_and_a_long_wait(tiny, tmp_path) -> None:
    """Three calls wait for company that never comes; two may."""
    message = request(spec("image", "predict"), examples=np.zeros((1, 8, 8, 3), np.float32))
    options = {"max_queue_size": 2, "batch_timeout_us": PATIENT_US, "queue_timeout_ms": 100}
    async with serving(tiny, tmp_path, foreign=False, **options) as served:
        calls = [refused(served.predictions.Predict(message)) for _ in range(3)]
        codes = [code for code, _ in await asyncio.gather(*calls)]
    assert sorted(codes, key=str) == [
        Status.DEADLINE_EXCEEDED,
        Status.DEADLINE_EXCEEDED,
        Status.RESOURCE_EXHAUSTED,
    ]
