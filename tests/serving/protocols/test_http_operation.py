"""What an operator asks: health, readiness, metrics, and what there is."""

import json

import httpx
import pytest
from fastapi import APIRouter
from prometheus_client.parser import text_string_to_metric_families

from serving.errors import ModelUnavailable, QueueTimeout
from serving.manager import Manager
from serving.observability import Metrics
from serving.protocols.http import build_app
from serving.settings import Settings


class Asked:
    """An application around parts of which only metrics and readiness are asked."""

    def __init__(self, **options) -> None:
        self.metrics = Metrics()
        self.reason: str | None = None
        self.app = build_app(
            engine=None,
            manager=Manager(load=None),
            watcher=None,
            metrics=self.metrics,
            settings=Settings(),
            why_not_ready=lambda: self.reason,
            **options,
        )

    async def __call__(self, method: str, path: str, **options) -> httpx.Response:
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            return await client.request(method, path, **options)


@pytest.fixture
def ask() -> Asked:
    return Asked()


async def test_health_and_readiness_differ(ask) -> None:
    ask.reason = "model 'digits' is loading: écoute"
    assert (await ask("GET", "/healthz")).text == "ok\n"
    answer = await ask("GET", "/readyz")
    assert (answer.status_code, answer.text) == (503, "model 'digits' is loading: écoute\n")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    ask.reason = None
    answer = await ask("GET", "/readyz")
    assert (answer.status_code, answer.text) == (200, "ready\n")


async def test_scrape(ask) -> None:
    ask.metrics.ready("digits", True)
    ask.metrics.request("digits", "http", "OK", 0.1)
    answer = await ask("GET", "/metrics")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    names = {family.name for family in text_string_to_metric_families(answer.text)}
    assert {"triptych_requests", "triptych_request_seconds", "triptych_model_ready"} <= names


async def test_a_scraper_gets_the_format_it_accepts(ask) -> None:
    headers = {"Accept": "application/openmetrics-text; version=1.0.0", "Accept-Encoding": "gzip"}
    answer = await ask("GET", "/metrics", headers=headers)
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
    assert answer.headers["Content-Encoding"] == "gzip"
    assert answer.text.endswith("# EOF\n")
    plain = await ask("GET", "/metrics", headers={"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in plain.headers


@pytest.mark.asyncio(loop_scope="module")
async def test_a_whole_server_tells_of_its_versions(client) -> None:
    async with httpx.AsyncClient() as http:
        text = (await http.get(f"{client.url}/metrics")).text
    families = {family.name: family for family in text_string_to_metric_families(text)}

    def samples(name):
        return [(sample.labels, sample.value) for sample in families[name].samples]

    version = {"model": "image", "version": "1"}
    assert (version | {"state": "READY"}, 1) in samples("triptych_version_state")
    assert (version, 0) in samples("triptych_queue_length")
    info = version | {"executor": "openvino", "precision": "f32"}
    assert (info, 1) in samples("triptych_version_info")
    loads = [value for labels, value in samples("triptych_version_load_seconds")]
    assert len(loads) == 3
    assert min(loads) > 0


@pytest.mark.parametrize("path", ["/", "/metrics", "/healthz", "/readyz", "/nothing"])
async def test_head_is_get_as_far_as_its_headers_go(ask, path) -> None:
    ask.reason = "not yet"
    head, get = await ask("HEAD", path), await ask("GET", path)
    assert head.status_code == get.status_code
    assert head.headers["Content-Type"] == get.headers["Content-Type"]
    assert int(head.headers["Content-Length"]) > 0


async def test_other_methods_and_paths(ask) -> None:
    answer = await ask("POST", "/metrics")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD")
    assert answer.json() == {"error": "/metrics takes GET and HEAD only"}
    answer = await ask("GET", "/v1/classify/x")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")
    answer = await ask("GET", "/metricss")
    assert answer.status_code == 404
    assert answer.json() == {"error": "there is no '/metricss': GET / lists what there is"}


async def test_the_page_and_the_schema_list_what_there_is() -> None:
    router = APIRouter()

    @router.get("/v9/things/{name}", summary="Some thing")
    async def thing(name: str) -> dict[str, str]:
        return {}

    ask = Asked(routers=[router])
    page = (await ask("GET", "/")).text
    schema = (await ask("GET", "/openapi.json")).json()
    for path in ("/v1/classify/{model}", "/v9/things/{name}", "/metrics", "/healthz", "/readyz"):
        assert path in page
        assert path in schema["paths"]
    assert "/openapi.json" in page
    body = schema["paths"]["/v1/classify/{model}"]["post"]["requestBody"]["content"]
    assert {"multipart/form-data", "application/json"} <= set(body)
    assert "422" not in json.dumps(schema["paths"])
    for page in ("/docs", "/redoc"):  # they would load from elsewhere
        assert (await ask("GET", page)).status_code == 404


async def test_errors_of_a_router_are_answered_by_the_one_table() -> None:
    router = APIRouter()

    @router.get("/error/{kind}")
    async def error(kind: str) -> None:
        if kind == "ours":
            raise ZeroDivisionError("why")
        raise {"late": QueueTimeout, "gone": ModelUnavailable}[kind](f"why\udcff {'x' * 5000}")

    ask = Asked(routers=[router])
    for kind, status in (("late", 504), ("gone", 503)):
        answer = await ask("GET", f"/error/{kind}")
        assert answer.status_code == status
        assert answer.json()["error"].startswith("why? xxx")
        assert len(answer.content) < 3000
    answer = await ask("GET", "/error/ours")
    assert (answer.status_code, "why" in answer.text) == (500, False)
    assert "see the server's log" in answer.json()["error"]
