"""POST /v1/classify/MODEL of a whole server, by curl as people type it, and by httpx."""

import asyncio
import base64
import json
import shutil
from pathlib import Path

import httpx
import numpy as np
import pytest

from protos.triptych.v1.classifier_pb2 import ClassifyRequest, Input
from tests.serving.accounts import account_of
from tests.serving.server_fixtures import Status, refused, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

FORM = {"Content-Type": "multipart/form-data; boundary=b"}


async def curl(*arguments: str) -> tuple[int, dict]:
    """(status, what was answered)"""
    process = await asyncio.create_subprocess_exec(
        "curl",
        "--silent",
        "--write-out",
        "\n%{http_code}",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    body, _, status = out.decode().rpartition("\n")
    return int(status), json.loads(body)


async def post(client, path: str, **options) -> httpx.Response:
    async with httpx.AsyncClient(base_url=client.url) as http:
        return await http.post(path, **options)


def scores(answer: dict, index: int = 0) -> np.ndarray:
    labels = sorted(answer["results"][index]["labels"], key=lambda label: label["class_id"])
    return np.array([label["score"] for label in labels])


def write(folder: Path, name: str, data: bytes) -> str:
    (folder / name).write_bytes(data)
    return str(folder / name)


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
async def test_curl_in_each_of_its_ways(client, tiny, tmp_path) -> None:
    image, sound, text = tiny.item("image", 3), tiny.item("audio", 2), "ça va? 你好"
    as_json = json.dumps({"inputs": [text, {"b64": base64.b64encode(text.encode()).decode()}]})
    picture, wav = write(tmp_path, "x.png", image), write(tmp_path, "x.wav", sound)
    url = f"{client.url}/v1/classify"
    for model, wanted, *arguments in (
        ("image", [image], "-F", f"file=@{picture}"),
        ("image", [image, image], "-F", f"file=@{picture}", "-F", f"file=@{picture}"),
        ("image", [image], "--data-binary", f"@{picture}"),
        ("image", [image], "--data-binary", f"@{picture}", "-H", "Content-Type: image/png"),
        ("audio", [sound], "--data-binary", f"@{wav}", "-H", "Transfer-Encoding: chunked"),
        ("audio", [sound], "-T", wav, "-X", "POST"),
        ("text", [text], "-d", text),
        ("text", [text, text], "-F", f"text={text}", "-F", f"text={text}"),
        ("text", [text, text], "-d", as_json, "-H", "Content-Type: application/json"),
    ):
        status, answer = await curl(*arguments, f"{url}/{model}?top_k=6")
        assert status == 200
        assert (answer["model"], answer["version"]) == (model, 1)
        assert len(answer["results"]) == len(wanted)
        for i, item in enumerate(wanted):
            np.testing.assert_allclose(scores(answer, i), tiny.scores(model, item), atol=1e-5)


async def test_it_answers_as_grpc_does(client, tiny) -> None:
    item = tiny.item("image", 5)
    options = {"top_k": 4, "min_score": 0.1, "version": 1}
    over_grpc = await client.classify("image", item, **options)
    answer = await post(client, "/v1/classify/image", params=options, content=item)
    assert [
        (label["label"], label["class_id"]) for label in answer.json()["results"][0]["labels"]
    ] == [(label.label, label.class_id) for label in over_grpc.results[0].labels]
    np.testing.assert_allclose(
        [label["score"] for label in answer.json()["results"][0]["labels"]],
        [label.score for label in over_grpc.results[0].labels],
        atol=1e-6,
    )


async def test_the_account(client, tiny) -> None:
    answer = await post(client, "/v1/classify/image", content=tiny.item("image"))
    timing = answer.json()["timing"]
    assert 0 < timing["predict_us"] < timing["total_us"]
    assert 0 < timing["preprocess_us"] < timing["total_us"]
    account = account_of(answer.headers.items())
    assert timing["executor"] == account["executor"] == "openvino"
    assert int(account["compute-us"]) == timing["predict_us"]
    assert int(account["version"]) == 1


async def test_one_bad_input_of_many_takes_nothing_from_the_others(client, tiny) -> None:
    good = tiny.item("image", 1)
    files = [("file", ("a", good)), ("file", ("b", b"not a picture")), ("file", ("c", good))]
    answer = await post(
        client, "/v1/classify/image?top_k=6", files=files, data={"text": "a text", "other": "x"}
    )
    assert answer.status_code == 200
    results = answer.json()["results"]
    good_at = [i for i, result in enumerate(results) if "labels" in result]
    assert len(good_at) == 2
    for i in good_at:
        np.testing.assert_allclose(scores(answer.json(), i), tiny.scores("image", good), atol=1e-5)
    errors = [result["error"] for result in results if "error" in result]
    assert {error["code"] for error in errors} == {Status.INVALID_ARGUMENT.value[0]}
    told = " ".join(error["message"] for error in errors)
    for words in ("not a picture", "a text was sent", "field 'other' is no file"):
        assert words in told


async def test_bad_json_inputs_are_told_apart(client, tiny) -> None:
    inputs = ["good", {"b64": "?"}, {"b64": 1}, {"bytes": "eA=="}, 3, None, ["x"]]
    answer = await post(client, "/v1/classify/text", json={"inputs": inputs})
    good, *bad = answer.json()["results"]
    assert good["labels"]
    for result, words in zip(
        bad, ("not base64", "'b64'", "'bytes'", "is 3", "is None", "a list"), strict=True
    ):
        assert words in result["error"]["message"]


@pytest.mark.parametrize(
    ("path", "options", "status", "told"),
    [
        ("imgae", {"content": b"x"}, 404, ["'imgae'", "Did you mean 'image'?", "audio, image"]),
        ("image?version=7", {"content": b"x"}, 404, ["no version 7", "It has 1"]),
        ("image?version=canary", {"content": b"x"}, 404, ["label 'canary'"]),
        (f"image?version={'9' * 500}", {"content": b"x"}, 404, ["label"]),
        ("text", {}, 400, ["no inputs"]),
        ("text", {"json": {"inputs": []}}, 400, ["no inputs"]),
        ("text", {"json": {"inputs": ["x"] * 9}}, 400, ["9 inputs", "8 are allowed"]),
        ("text", {"files": [("file", b"x")] * 9}, 400, ["more than 8", "TRIPTYCH_MAX_INPUTS"]),
        (
            "text",
            {"data": {"top_k": "1"}, "files": [("file", b"x")]},
            400,
            ["'top_k' is no input", "?top_k="],
        ),
        ("text", {"content": b"x" * 1001}, 400, ["input 0: ", "1,001 characters"]),
        ("text?top_k=0", {"content": b"x"}, 400, ["top_k is 0"]),
        ("text?top_k=many", {"content": b"x"}, 400, ["query top_k is 'many'"]),
        ("text?min_score=nan", {"content": b"x"}, 400, ["min_score is nan"]),
        ("text?min_score=1.5", {"content": b"x"}, 400, ["min_score is 1.5"]),
        ("text?topk=1", {"content": b"x"}, 400, ["'topk'", "top_k, min_score, version"]),
        ("image", {"content": b"not a picture"}, 400, ["input 0: not a picture", "send JPEG"]),
        ("audio", {"json": {"inputs": ["x", {"b64": "eA=="}]}}, 400, ["(1 more of 2 inputs"]),
        (
            "text",
            {"content": b"<x/>", "headers": {"Content-Type": "text/xml"}},
            415,
            ["'text/xml'"],
        ),
        ("text", {"content": b"x", "headers": {"Content-Encoding": "gzip"}}, 415, ["'gzip'"]),
        (
            "text",
            {"content": b"--b\r\n", "headers": {"Content-Type": "multipart/form-data"}},
            400,
            ["boundary", "curl -F file=@FILE"],
        ),
        ("text", {"content": b"--b\r\nx\r\n\r\n--b--", "headers": FORM}, 400, ["cannot be read"]),
        ("text", {"content": b"no form at all", "headers": FORM}, 400, ["cannot be read"]),
        *(
            ("text", {"content": body, "headers": {"Content-Type": "application/json"}}, 400, told)
            for body, told in (
                (b"", ["is not JSON"]),
                (b'{"inputs": [', ["is not JSON"]),
                (b"\xff", ["is not JSON"]),
                (b"[" * 50_000, ["is not JSON"]),
                (b"9" * 50_000, ["is not JSON"]),
                (b'["x"]', ["no object"]),
                (b'{"instances": ["x"]}', ["'instances'", '"inputs" alone']),
                (b'{"inputs": "x"}', ["should be a list"]),
            )
        ),
    ],
    ids=lambda value: "",
)
async def test_what_cannot_be_answered_says_why(client, path, options, status, told) -> None:
    answer = await post(client, f"/v1/classify/{path}", **options)
    assert answer.status_code == status
    assert answer.json().keys() == {"error"}
    for words in told:
        assert words in answer.json()["error"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"data": {"method": "cam"}, "files": [("file", b"x")]}, ["'method'", "?method="]),
        ({"files": [("file", b"x")] * 2}, ["more than 1", "one is allowed"]),
        ({"json": {"inputs": ["x", "y"]}}, ["2 inputs", "one is allowed"]),
    ],
    ids=lambda value: "",
)
async def test_one_input_is_explained_at_a_time(client, options, told) -> None:
    answer = await post(client, "/v1/explain/text", **options)
    assert answer.status_code == 400
    for words in told:
        assert words in answer.json()["error"]


async def test_a_json_of_very_many_pieces_is_not_taken_apart(tiny, tmp_path) -> None:
    """12 MB of empty objects would be 24 times as much in memory."""
    tiny.publish(tmp_path, "text")
    async with running(tmp_path) as client:
        body = b'{"inputs": [' + b"{}," * 4_000_000 + b"{}]}"
        headers = {"Content-Type": "application/json"}
        answer = await post(client, "/v1/classify/text", content=body, headers=headers)
        assert (answer.status_code, "8,000,00" in answer.json()["error"]) == (400, True)


async def test_a_form_stays_in_memory(tiny, tmp_path, monkeypatch) -> None:
    """A server may run where nothing can be written."""
    tiny.publish(tmp_path, "text")
    async with running(tmp_path) as client:
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
        answer = await post(client, "/v1/classify/text", files=[("file", b"x" * 3_000_000)])
        assert (answer.status_code, "3,000,000 characters" in answer.text) == (400, True)


async def test_a_mistake_of_ours_is_not_told(tiny, tmp_path) -> None:
    tiny.publish(tmp_path, "audio")
    async with running(tmp_path, executor="tensorflow") as client:
        answer = await post(client, "/v1/classify/audio", content=tiny.short_sound())
        assert answer.status_code == 500
        assert answer.json()["error"].startswith("input 0: internal error, see the server's log")


async def test_a_model_that_is_not_ready_and_a_full_queue(tiny, tmp_path) -> None:
    tiny.publish(tmp_path, "image", change=tiny.spoil_golden)
    tiny.publish(tmp_path, "text")
    async with running(tmp_path, max_queue_size=2, batch_timeout_us=60_000_000) as client:
        unavailable = await post(client, "/v1/classify/image", content=b"x")
        assert (unavailable.status_code, "golden" in unavailable.text) == (503, True)
        full = ClassifyRequest(model="text", inputs=[Input(text="x")] * 2)
        waiting = client.stub.Classify(full)
        await client.versions("text")  # so that it has arrived
        busy = await post(client, "/v1/classify/text", content=b"y")
        assert (busy.status_code, "TRIPTYCH_MAX_QUEUE_SIZE" in busy.text) == (429, True)
        waiting.cancel()


async def test_a_client_that_leaves_leaves_room(tiny, tmp_path) -> None:
    tiny.publish(tmp_path, "text")
    async with running(tmp_path, max_queue_size=2, batch_timeout_us=60_000_000) as client:
        for _ in range(3):
            with pytest.raises(httpx.ReadTimeout):
                await post(client, "/v1/classify/text", json={"inputs": ["x"] * 2}, timeout=0.2)
            await client.versions("text")
        full = ClassifyRequest(model="text", inputs=[Input(text="x")] * 2)
        code, _ = await refused(client.stub.Classify(full, timeout=0.2))
        assert code is Status.DEADLINE_EXCEEDED  # it had been taken, and waited for company


async def test_calls_are_counted_under_their_protocol(tiny, tmp_path) -> None:
    tiny.publish(tmp_path, "text")
    async with running(tmp_path) as client:
        await post(client, "/v1/classify/text", content=b"x")
        await post(client, "/v1/classify/text?top_k=0", content=b"x")
        await client.classify("text", "x")
        _, metrics = await client.http("/metrics")
        for protocol, status in (("http", "OK"), ("http", "INVALID_ARGUMENT"), ("triptych", "OK")):
            sample = f'{{model="text",protocol="{protocol}",status="{status}"}} 1.0'
            assert f"triptych_requests_total{sample}" in metrics
