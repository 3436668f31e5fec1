"""What TensorFlow Serving's REST interface refuses, and in which words."""

import json
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.serving.protocols.tensorflow_serving_fixtures import serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

X = [[1.0, 2.0, 3.0], [0.5, 0.0, -1.0]]
B = [[1.0, 1.0], [1.0, 1.0]]
FOREIGN = "/v1/models/foreign"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def http(tiny, tmp_path_factory):
    root = tmp_path_factory.mktemp("repository")
    async with (
        serving(tiny, root, max_request_bytes=1_000_000) as served,
        httpx.AsyncClient(base_url=served.client.url, timeout=30) as http,
    ):
        yield http


def predict(body: Any, path: str = f"{FOREIGN}:predict") -> tuple[str, Any]:
    return path, body


SCALAR = {"signature_name": "scalar"}
KINDS = {"f16": [1], "i64": [1], "u8": [1], "bit": [True]}


@pytest.mark.parametrize(
    ("call", "status", "told"),
    [
        (predict(b""), 400, "JSON Parse error: The document is empty"),
        (predict(b'{"a": }'), 400, "JSON Parse error: Expecting value at offset: 6"),
        (predict(b"[" * 100_000), 400, "JSON Parse error: "),
        (predict(b"\xff"), 400, "JSON Parse error: "),
        (predict([1]), 400, "JSON Value: [1] Is not object"),
        (
            predict({"signature_name": 1}),
            400,
            "JSON Value: {'signature_name': 1} not formatted correctly. 'signature_name' key must "
            "be a string value.",
        ),
        (
            predict({"signature_name": "x"}),
            400,
            'Serving signature name: "x" not found in signature def',
        ),
        (predict(SCALAR), 400, "Missing 'inputs' or 'instances' key"),
        (predict(SCALAR | {"inputs": 1, "instances": [1]}), 400, "JSON Value: "),
        (predict(SCALAR | {"instances": 1}), 400, "JSON Value: 1 Expecting 'instances' to be"),
        (predict(SCALAR | {"instances": []}), 400, "JSON Value: [] No values in 'instances'"),
        (
            predict({"instances": [1]}),
            400,
            "instances is a plain list, but expecting list of objects as multiple input tensors "
            "required as per tensorinfo_map",
        ),
        (
            predict({"inputs": [1]}),
            400,
            "inputs is a plain value/list, but expecting an object as multiple input tensors "
            "required as per tensorinfo_map",
        ),
        (predict({"inputs": {"x": X}}), 400, "Missing named input: b in 'inputs' object."),
        (
            predict({"inputs": {"x": X, "b": B, "c": B}}),
            400,
            "JSON object: does not have named input: c",
        ),
        (
            predict({"instances": [{"x": X[0], "b": B[0]}, [1]]}),
            400,
            "Expecting object but got list at item 1 of input list",
        ),
        (
            predict({"signature_name": "echo", "instances": ["a", {"c": 1}]}),
            400,
            "Expecting value/list but got object at item 1 of input list",
        ),
        (
            predict({"instances": [{"x": X[0]}]}),
            400,
            "Failed to process element: 0 of 'instances' list. JSON object: ",
        ),
        (
            predict({"instances": [{"q": 1}]}),
            400,
            "Failed to process element: 0 key: q of 'instances' list. Error: INVALID_ARGUMENT: "
            "JSON object: does not have named input: q",
        ),
        (
            predict({"instances": [{"x": X[0], "b": [1, 2]}, {"x": [1, 2], "b": [1, 2]}]}),
            400,
            "Failed to process element: 1 key: x of 'instances' list. Error: INVALID_ARGUMENT: "
            "Expecting tensor size: 3 but got: 2",
        ),
        (
            predict({"signature_name": "echo", "instances": [["a"], [["b"]]]}),
            400,
            "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: Expecting "
            "shape [1] but got: [1,1]",
        ),
        (
            predict(SCALAR | {"inputs": [[1, 2], [3]]}),
            400,
            "Encountered list at unexpected size: 1 at level: 1 expected size: 2",
        ),
        (
            predict(SCALAR | {"inputs": [[1], 2]}),
            400,
            "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 3",
        ),
        (predict(SCALAR | {"inputs": [1, [2]]}), 400, "Encountered list at unexpected level: 1"),
        (
            predict(SCALAR | {"inputs": True}),
            400,
            "JSON Value: True Type: Bool is not of expected type: float32",
        ),
        (
            predict(SCALAR | {"inputs": None}),
            400,
            "JSON Value: None Type: Null is not of expected type: float32",
        ),
        (
            predict({"signature_name": "kinds", "inputs": KINDS | {"i64": [1.5]}}),
            400,
            "JSON Value: 1.5 Type: Number is not of expected type: int64",
        ),
        (
            predict({"signature_name": "kinds", "inputs": KINDS | {"u8": [256]}}),
            400,
            "a JSON Value is out of the range of uint8",
        ),
        (
            predict({"signature_name": "echo", "inputs": [{"b64": "!"}]}),
            400,
            "Unable to base64 decode",
        ),
        (
            predict({"signature_name": "echo", "inputs": [{"b64": 1}]}),
            400,
            "JSON Value: {'b64': 1} not formatted correctly for base64 data",
        ),
        (predict(SCALAR | {"instances": [1]}), 400, "input 'x' is float32 [1]"),
        (
            predict({"signature_name": "complex", "inputs": [1]}),
            501,
            "Conversion of JSON Value to type: complex64",
        ),
        (predict({"inputs": 1}, "/v1/models/foo:predict"), 404, "Servable not found for request"),
        (
            predict({"inputs": 1}, "/v1/models/image/versions/9:predict"),
            404,
            "Servable not found for request: Specific(image, 9)",
        ),
        (
            predict({"inputs": 1}, "/v1/models/image/labels/beta:predict"),
            400,
            "Unrecognized servable version label: beta",
        ),
        (
            predict({"inputs": 1}, "/v1/models/image/labels/canary:predict"),
            503,
            "label 'canary' of model 'image' is version 3",
        ),
        (
            predict({"inputs": 1}, f"/v1/models/image/versions/{2**63}:predict"),
            400,
            f"Failed to convert version: {2**63} to numeric.",
        ),
        (
            predict({"inputs": 1}, "/v1/models/image:explain"),
            400,
            "Malformed request: POST /v1/models/image:explain",
        ),
        (
            predict({"inputs": 1}, "/v1/models/image:PREDICT"),
            400,
            "Malformed request: POST /v1/models/image:PREDICT",
        ),
        (
            predict({"inputs": 1}, "/v1/models/image/versions/x:predict"),
            400,
            "Malformed request: POST /v1/models/image/versions/x:predict",
        ),
    ],
)
async def test_calls_that_are_refused(http, call, status, told) -> None:
    path, body = call
    content = body if isinstance(body, bytes) else json.dumps(body)
    response = await http.post(path, content=content)
    assert (response.status_code, response.json()["error"][: len(told)]) == (status, told)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({}, "JSON Value: {} When method is classify, key 'examples' is expected and was not "),
        ({"examples": 1}, "JSON Value: {'examples': 1} Expecting 'examples' value to be an list"),
        ({"examples": []}, "JSON Value: {'examples': []} 'examples' value is an empty array"),
        ({"examples": [1]}, "Example must be JSON object but got JSON Number"),
        (
            {"examples": [{"a": None}]},
            "Feature: a has element with unexpected JSON type: Null",
        ),
        (
            {"examples": [{"a": [[1]]}]},
            "Feature: a has element with unexpected JSON type: Array",
        ),
        (
            {"examples": [{"a": {"c": 1}}]},
            "Feature: a has element with unexpected JSON type: Object",
        ),
        (
            {"examples": [{"a": [1, 2.5]}]},
            "Unexpected element type in feature: a expecting type: int64",
        ),
        (
            {"examples": [{"a": [2**63]}]},
            "Feature: a has uint64_t element. Only int64_t is supported.",
        ),
        ({"examples": [{"a": {"b64": "!"}}]}, "Unable to base64 decode"),
        (
            {"examples": [{"a": "\ud800"}]},
            "JSON Value: '\\ud800' is no Unicode",
        ),
        (
            {"examples": [{"a": 1}], "signature_name": "x"},
            "No signature was found with the name: x",
        ),
    ],
)
@pytest.mark.parametrize("verb", ["classify", "regress"])
async def test_examples_that_are_refused(http, verb, body, told) -> None:
    response = await http.post(f"/v1/models/image:{verb}", content=json.dumps(body))
    assert (response.status_code, response.json()["error"][: len(told)]) == (400, told)


@pytest.mark.parametrize(
    ("path", "status", "told"),
    [
        ("/v1/models", 400, "Missing model name in request."),
        ("/v1/models/foo", 404, "Could not find any versions of model foo"),
        ("/v1/models/image/versions/7", 404, "Could not find version 7 of model image"),
        ("/v1/models/foo/metadata", 404, "Servable not found for request: Latest(foo)"),
        ("/v1/models/image/nothing", 400, "Malformed request: GET /v1/models/image/nothing"),
        ("/v1/models/image:predict", 400, "Malformed request: GET /v1/models/image:predict"),
    ],
)
async def test_questions_that_are_refused(http, path, status, told) -> None:
    response = await http.get(path)
    assert (response.status_code, response.json()["error"][: len(told)]) == (status, told)


async def test_a_body_that_is_too_large_is_refused(http) -> None:
    response = await http.post(f"{FOREIGN}:predict", content=b" " * 1_000_001)
    assert response.status_code == 413
