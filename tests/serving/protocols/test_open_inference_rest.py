"""/v2 of a whole server: the Open Inference Protocol's JSON, and tensors as bytes behind it."""

import json
from collections.abc import AsyncIterator

import httpx
import numpy as np
import pytest
import pytest_asyncio

from serving.protocols.open_inference_body import HEADER
from tests.serving.accounts import account_of
from tests.serving.protocols.open_inference_fixtures import floats, oip_running, tensor

pytestmark = pytest.mark.asyncio(loop_scope="module")

EXAMPLES = floats(2, 8, 8, 3)
INPUT = {"name": "examples", "datatype": "FP32", "shape": list(EXAMPLES.shape)}
JSON_INPUT = {**INPUT, "data": EXAMPLES.ravel().tolist()}
BINARY = {"parameters": {"binary_data": True}}
INFER = "/v2/models/image/infer"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def oip(tiny, tmp_path_factory):
    root = tmp_path_factory.mktemp("repository")
    for domain in ("image", "text"):
        tiny.publish(root, domain)
    (root / "text" / "model.toml").write_text("labels = {stable = 1}\n")
    async with oip_running(root) as oip:
        yield oip


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def http(oip) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://localhost:{oip.http_port}") as client:
        yield client


def binary(head: dict[str, object], *parts: bytes) -> dict[str, object]:
    """A request's body and headers."""
    text = json.dumps(head).encode()
    return {"content": text + b"".join(parts), "headers": {HEADER: str(len(text))}}


def values(answer: httpx.Response) -> dict[str, np.ndarray]:
    """The outputs of an answer, be they JSON or bytes."""
    end = int(answer.headers.get(HEADER, len(answer.content)))
    left = answer.content[end:]
    found = {}
    for output in json.loads(answer.content[:end])["outputs"]:
        size = output.get("parameters", {}).get("binary_data_size")
        if size is None:
            flat = np.array(output["data"])
        else:
            flat, left = np.frombuffer(left[:size], np.float32), left[size:]
        found[output["name"]] = flat.reshape(output["shape"])
    assert not left
    return found


async def test_what_there_is(http) -> None:
    about = (await http.get("/v2")).json()
    assert about["name"] == "triptych"
    for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/image/ready"):
        answer = await http.get(path)
        assert (answer.status_code, answer.content) == (200, b"")
    for path in ("/v2/models/image", "/v2/models/image/versions/1"):
        model = (await http.get(path)).json()
        assert model["inputs"] == [{"name": "examples", "datatype": "FP32", "shape": [-1, 8, 8, 3]}]
        assert model["versions"] == ["1"]
    config = (await http.get("/v2/models/image/config")).json()
    assert (config["max_batch_size"], config["input"][0]["dims"]) == (256, [8, 8, 3])
    assert (await http.get("/v2/models/text/versions/stable/ready")).status_code == 200


async def test_json_and_bytes_give_what_grpc_gives(oip, http) -> None:
    wanted = await oip.client.infer("image", [tensor("examples", EXAMPLES)])
    nested = {**INPUT, "data": EXAMPLES.tolist()}
    sized = {**INPUT, "parameters": {"binary_data_size": EXAMPLES.nbytes}}
    some = [{"name": "logits"}, {"name": "scores", **BINARY}]
    for body in (
        {"json": {"id": "7", "inputs": [JSON_INPUT]}},
        {"json": {"id": "7", "inputs": [nested], "outputs": some}},
        binary({"id": "7", "inputs": [sized]}, EXAMPLES.tobytes()),
        binary(
            {"id": "7", "inputs": [sized], "parameters": {"binary_data_output": True}},
            EXAMPLES.tobytes(),
        ),
        binary({"id": "7", "inputs": [sized], "outputs": some}, EXAMPLES.tobytes()),
    ):
        answer = await http.post(INFER, **body)
        assert answer.status_code == 200, answer.text
        found = values(answer)
        assert found.keys() == {"logits", "scores"}
        for name, value in found.items():
            np.testing.assert_allclose(value, wanted.as_numpy(name), atol=1e-6)
        assert account_of(answer.headers.items())["executor"] == "openvino"
        head = json.loads(answer.content[: int(answer.headers.get(HEADER, 10**9))])
        assert (head["id"], head["model_name"], head["model_version"]) == ("7", "image", "1")
        assert account_of(head["parameters"].items()) == account_of(answer.headers.items())


async def test_encoded_inputs_and_classes(http, tiny) -> None:
    item = tiny.item("image", 3)
    given = {
        "name": "inputs",
        "datatype": "BYTES",
        "shape": [1],
        "parameters": {"binary_data_size": len(item) + 4},
    }
    asked = {"name": "scores", "parameters": {"classification": 1}}
    part = len(item).to_bytes(4, "little") + item
    answer = await http.post(INFER, **binary({"inputs": [given], "outputs": [asked]}, part))
    (output,) = answer.json()["outputs"]
    scores = tiny.scores("image", item)
    best = int(scores.argmax())
    assert (output["datatype"], output["shape"]) == ("BYTES", [1, 1])
    assert output["data"] == [f"{scores[best]:f}:{best}:{tiny.labels['image'][best]}"]
    text = {"name": "inputs", "datatype": "BYTES", "shape": [2], "data": ["ça va?", "x"]}
    answer = await http.post("/v2/models/text/infer", json={"inputs": [text]})
    outputs = {output["name"]: output["data"] for output in answer.json()["outputs"]}
    assert outputs["classes"] == tiny.labels["text"] * 2
    wanted = [*tiny.scores("text", "ça va?"), *tiny.scores("text", "x")]
    np.testing.assert_allclose(outputs["scores"], wanted, atol=1e-5)


async def test_a_large_body_is_read_as_a_small_one(http) -> None:
    many = floats(40, 8, 8, 3)
    given = {**INPUT, "shape": list(many.shape), "data": many.ravel().tolist()}
    answer = await http.post(INFER, json={"inputs": [given]})
    assert len(answer.request.content) > 100_000
    assert values(answer)["scores"].shape == (40, 6)


# fmt: off
CASES = [
    ("/v2/models/none/infer", {"json": {}}, 404,
     "Request for unknown model: 'none' is not found"),
    ("/v2/models/image/versions/7/infer", {"json": {}}, 404,
     "Request for unknown model: 'image' version 7 is not found"),
    ("/v2/models/image/versions/v1/infer", {"json": {}}, 400, "failed to get model version"),
    (INFER, {"content": b""}, 400, "failed to parse the request JSON buffer"),
    (INFER, {"content": b"[" * 9000}, 400, "failed to parse the request JSON buffer"),
    (INFER, {"content": b"[]"}, 400, "it is no object"),
    (INFER, {"content": b"\xff"}, 400, "failed to parse the request JSON buffer"),
    (INFER, {"content": b'{"inputs": [NaN]}'}, 400, "NaN is no JSON"),
    (INFER, {"json": {}}, 400, "Unable to parse 'inputs'"),
    (INFER, {"json": {"inputs": [3]}}, 400, "Unable to parse 'name'"),
    (INFER, {"json": {"inputs": [INPUT]}}, 400, "But no field is set"),
    (INFER, {"json": {"inputs": [{**JSON_INPUT, "shape": [2, "8"]}]}}, 400,
     "Unable to parse 'shape'"),
    (INFER, {"json": {"inputs": [{**JSON_INPUT, "shape": [2, 8, 8, 4]}]}}, 400,
     "unexpected shape for input 'examples' for model 'image'. Expected [-1,8,8,3], got"),
    (INFER, {"json": {"inputs": [{**JSON_INPUT, "shape": [1, 8, 8, 3]}]}}, 400,
     "input byte size mismatch for input 'examples'"),
    (INFER, {"json": {"inputs": [{**JSON_INPUT, "shape": [10**30, 8, 8, 3]}]}}, 400,
     "batch-size must be <= 256"),
    (INFER, {"json": {"inputs": [{**INPUT, "data": [[1], [2, 3]]}]}}, 400,
     "Unable to parse 'data' of input 'examples' as FP32"),
    (INFER, {"json": {"inputs": [{**INPUT, "data": ["1"] * 384}]}}, 400,
     "Unable to parse 'data' of input 'examples' as FP32"),
    (INFER, {"json": {"inputs": [{**INPUT, "datatype": "FP16", "data": [1]}]}}, 400,
     "sending FP16 data via JSON is not supported"),
    (INFER, {"json": {"inputs": [{**INPUT, "name": "inputs", "datatype": "BYTES",
                                  "shape": [1], "data": [7]}]}}, 400,
     "Unable to parse JSON bytes array"),
    (INFER, {"content": b'{"inputs": [{"name": "inputs", "datatype": "BYTES", "shape": [1], '
                        b'"data": ["\\ud800"]}]}'}, 400, "Unable to parse JSON bytes array"),
    (INFER, {"json": {"inputs": [JSON_INPUT], "outputs": [{"name": "x"}]}}, 400,
     "unexpected inference output 'x' for model 'image'"),
    (INFER, {"json": {"inputs": [JSON_INPUT], "parameters": {"priority": "1"}}}, 400,
     "invalid value type for 'priority' parameter"),
    (INFER, {"json": {"id": 7, "inputs": [JSON_INPUT]}}, 400, "Unable to parse 'id'"),
    (INFER, {"content": b"{}", "headers": {HEADER: "3"}}, 400,
     "inference header size should be in range (0, 2), got: 3"),
    (INFER, {"content": b"{}", "headers": {HEADER: "-1"}}, 400, "Unable to parse Inference-"),
    (INFER, binary({"inputs": [{**INPUT, "parameters": {"binary_data_size": 9}}]}, b"1234"),
     400, "unexpected size for input 'examples', expecting 5 additional bytes for model"),
    (INFER, binary({"inputs": [JSON_INPUT]}, b"1"), 400, "unexpected additional input data"),
    (INFER, {"json": {"inputs": [{**INPUT, "parameters": {"binary_data_size": 9}}]}}, 400,
     "must specify valid"),
    (INFER, {"json": {}, "headers": {"content-encoding": "gzip"}}, 400,
     "Unsupported compression type 'gzip'"),
    ("/v2/repository/models/none/load", {}, 404, "failed to load 'none'"),
    ("/v2/repository/models/text/load", {"json": {"parameters": {"config": "{}"}}}, 501,
     "loading with a 'config' or with files is refused"),
    ("/v2/systemsharedmemory/region/r/register", {"json": {}}, 501, "not supported"),
    ("/v2/logging", {"json": {"log_info": False}}, 501, "no settings"),
]
# fmt: on


@pytest.mark.parametrize(("path", "body", "status", "told"), CASES)
async def test_a_refusal_says_why(http, path, body, status, told) -> None:
    answer = await http.post(path, **body)
    assert answer.status_code == status
    assert told in answer.json()["error"]


async def test_the_repository(http) -> None:
    text = {"name": "text", "version": "1", "state": "READY", "reason": ""}
    assert text in (await http.post("/v2/repository/index")).json()
    assert (await http.post("/v2/repository/models/text/unload")).status_code == 200
    ready = (await http.post("/v2/repository/index", json={"ready": True})).json()
    assert [model["name"] for model in ready] == ["image"]
    answer = await http.get("/v2/models/text/ready")
    assert (answer.status_code, "no available versions" in answer.json()["error"]) == (404, True)
    assert (await http.post("/v2/repository/models/text/load", json={})).status_code == 200
    assert (await http.get("/v2/models/text/ready")).status_code == 200


async def test_statistics(http) -> None:
    await http.post(INFER, json={"inputs": [JSON_INPUT]})
    (told,) = (await http.get("/v2/models/image/stats")).json()["model_stats"]
    assert (told["name"], told["version"]) == ("image", "1")
    assert told["inference_stats"]["success"]["count"] >= 1
    everything = (await http.get("/v2/models/stats")).json()["model_stats"]
    assert {model["name"] for model in everything} == {"image", "text"}


async def test_nothing_is_shared_or_traced(http) -> None:
    for memory in ("systemsharedmemory", "cudasharedmemory"):
        assert (await http.get(f"/v2/{memory}/status")).json() == []
        assert (await http.post(f"/v2/{memory}/unregister")).status_code == 200
    for settings in ("/v2/trace/setting", "/v2/logging"):
        assert (await http.get(settings)).json() == {}


async def test_its_paths_are_described(http) -> None:
    paths = (await http.get("/openapi.json")).json()["paths"]
    (name,) = paths[INFER.replace("image", "{model}")]["post"]["parameters"]
    assert (name["name"], name["in"]) == ("model", "path")
