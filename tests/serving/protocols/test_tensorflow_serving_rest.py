"""TensorFlow Serving's REST interface against a whole server, by a plain HTTP client."""

import base64
from typing import Any

import httpx
import numpy as np
import pytest
import pytest_asyncio

from tests.serving.accounts import account_of
from tests.serving.protocols.tensorflow_serving_fixtures import WEIGHTS, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

X = [[1.0, 2.0, 3.0], [0.5, 0.0, -1.0]]
B = [[1.0, 1.0], [1.0, 1.0]]
Y = np.array(X) @ WEIGHTS + 1
FOREIGN = "/v1/models/foreign"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def http(tiny, tmp_path_factory):
    root = tmp_path_factory.mktemp("repository")
    async with (
        serving(tiny, root, max_inputs_per_request=8, max_request_bytes=1_000_000) as served,
        httpx.AsyncClient(base_url=served.client.url, timeout=30) as http,
    ):
        yield http


async def post(http: httpx.AsyncClient, path: str, body: Any) -> Any:
    response = await http.post(path, json=body)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    return response.json()


def b64(item: bytes | str) -> dict[str, str]:
    return {"b64": base64.b64encode(item.encode() if isinstance(item, str) else item).decode()}


# Predict


async def test_rows(http) -> None:
    instances = [{"x": x, "b": b} for x, b in zip(X, B, strict=True)]
    answer = await post(http, f"{FOREIGN}:predict", {"instances": instances})
    assert answer == {
        "predictions": [
            {"y": y, "sum": total} for y, total in zip(Y.tolist(), [6.0, -0.5], strict=True)
        ]
    }


async def test_columns(http) -> None:
    body = {"signature_name": "serving_default", "inputs": {"x": X, "b": B}}
    answer = await post(http, f"{FOREIGN}:predict", body)
    assert answer == {"outputs": {"y": Y.tolist(), "sum": [6.0, -0.5]}}


@pytest.mark.parametrize("key", ["instances", "inputs"])
async def test_one_input_needs_no_name(http, key) -> None:
    """And 0.1 is 0.1 again, though it went through 32 bits."""
    body = {"signature_name": "echo", key: ["0.1", b64(b"\x00a")]}
    answer = await post(http, f"{FOREIGN}:predict", body)
    raw = [b64("0.1"), b64(b"\x00a")]
    if key == "instances":
        texts = zip(["0.1", "\x00a"], raw, strict=True)
        assert answer == {"predictions": [{"text": t, "raw_bytes": r} for t, r in texts]}
    else:
        assert answer == {"outputs": {"text": ["0.1", "\x00a"], "raw_bytes": raw}}


async def test_one_output_needs_no_name(http) -> None:
    body = {"signature_name": "scalar", "inputs": 0.05}
    assert await post(http, f"{FOREIGN}:predict", body) == {"outputs": 0.1}


async def test_bytes_that_are_no_text_come_as_base64(http) -> None:
    body = {"signature_name": "echo", "inputs": [b64(b"\xff")]}
    answer = await post(http, f"{FOREIGN}:predict", body)
    assert answer["outputs"]["text"] == [b64(b"\xff")]


async def test_numbers_that_json_has_no_word_for(http) -> None:
    content = b'{"signature_name": "scalar", "inputs": -Infinity}'
    response = await http.post(f"{FOREIGN}:predict", content=content)
    assert response.text == '{"outputs":-Infinity}'


async def test_every_type(http) -> None:
    inputs = {"f16": [0.1], "i64": [2**40], "u8": [255], "bit": [True]}
    body = {"signature_name": "kinds", "inputs": inputs}
    answer = await post(http, f"{FOREIGN}:predict", body)
    assert answer["outputs"].pop("f16") == pytest.approx([0.1], rel=1e-3)
    assert answer["outputs"] == {"i64": [2**40], "u8": [255], "bit": [True]}


@pytest.mark.parametrize("path", ["", "/versions/1", "/labels/stable", "/labels/1"])
async def test_files_of_our_own_and_their_version(http, tiny, path) -> None:
    items = [tiny.item("image", seed) for seed in range(2)]
    response = await http.post(
        f"/v1/models/image{path}:predict", json={"instances": [b64(item) for item in items]}
    )
    predictions = response.json()["predictions"]
    seed = 0 if path else 1
    for one, item in zip(predictions, items, strict=True):
        assert one["classes"] == tiny.labels["image"]
        np.testing.assert_allclose(one["scores"], tiny.scores("image", item, seed), atol=1e-5)
    account = account_of(response.headers.items())
    assert account["version"] == str(seed + 1)
    assert int(account["decode-us"]) > 0


async def test_a_large_body_is_read_too(http) -> None:
    pixels = np.random.default_rng(0).normal(size=(40, 8, 8, 3)).round(4)
    body = {"signature_name": "predict", "instances": pixels.tolist()}
    answer = await post(http, "/v1/models/image:predict", body)
    assert np.shape([one["scores"] for one in answer["predictions"]]) == (40, 6)


# Classify and regress


async def test_classify(http, tiny) -> None:
    item = tiny.item("text", 3)
    body = {"examples": [{"text": item}, {"id": 7}], "context": {"text": [b64(item)]}}
    answer = await post(http, "/v1/models/text:classify", body)
    for row in answer["results"]:
        assert [label for label, _ in row] == tiny.labels["text"]
        np.testing.assert_allclose([s for _, s in row], tiny.scores("text", item), atol=1e-5)


async def test_classify_by_a_signature_of_a_foreign_model(http) -> None:
    examples = [{"x": x, "whole": 3, "flag": True, "none": []} for x in X]
    body = {"signature_name": "scores_only", "examples": examples}
    answer = await post(http, f"{FOREIGN}:classify", body)
    wanted = (Y - 1).tolist()
    assert answer == {"results": [[["", a], ["", b]] for a, b in wanted]}


async def test_regress(http) -> None:
    body = {"signature_name": "regress", "examples": [{"x": x} for x in X]}
    answer = await post(http, f"{FOREIGN}:regress", body)
    assert answer == {"results": (Y - 1)[:, 0].tolist()}


# Status and metadata


async def test_status(http) -> None:
    one = {"state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    answers = [(await http.get(f"/v1/models/image{path}")).json() for path in ("", "/versions/1")]
    assert answers == [
        {"model_version_status": [{"version": "2", **one}, {"version": "1", **one}]},
        {"model_version_status": [{"version": "1", **one}]},
    ]


async def test_metadata(http) -> None:
    answer = (await http.get("/v1/models/image/labels/stable/metadata")).json()
    assert answer["model_spec"] == {"name": "image", "signature_name": "", "version": "1"}
    signatures = answer["metadata"]["signature_def"]["signature_def"]
    examples = signatures["predict"]["inputs"]["examples"]
    assert examples["dtype"] == "DT_FLOAT"
    assert [dim["size"] for dim in examples["tensor_shape"]["dim"]] == ["-1", "8", "8", "3"]


async def test_the_addresses_are_in_the_documentation(http) -> None:
    paths = (await http.get("/openapi.json")).json()["paths"]
    assert "post" in paths["/v1/models/{model}/versions/{version}:predict"]
    assert "get" in paths["/v1/models/{model}/labels/{label}/metadata"]
