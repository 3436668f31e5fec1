"""Downloads from a server on this machine: the good file is kept, the wrong one leaves nothing."""

import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pipelines.datasets import ORIGINALS, DatasetError
from pipelines.datasets.download import Original, download

CONTENT = bytes(range(256)) * 4000  # several chunks


class QuietHandler(SimpleHTTPRequestHandler):
    requests: list[str]

    def log_message(self, *args):
        self.requests.append(self.path)


@pytest.fixture
def server(tmp_path, monkeypatch):
    """(address, what was asked for); serves one file, data.bin."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    served = tmp_path / "served"
    served.mkdir()
    (served / "data.bin").write_bytes(CONTENT)
    QuietHandler.requests = []
    handler = partial(QuietHandler, directory=served)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http_server:
        thread = threading.Thread(target=http_server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{http_server.server_port}", QuietHandler.requests
        http_server.shutdown()
        thread.join()


def checksum(algorithm: str) -> str:
    return f"{algorithm}:{hashlib.new(algorithm, CONTENT).hexdigest()}"


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_a_good_file_is_kept(tmp_path, server, algorithm):
    address, requests = server
    original = Original(f"{address}/data.bin", checksum(algorithm))
    folder = tmp_path / "cache" / "ours"
    for _ in range(2):
        assert download("ours", [original], folder) == folder
        assert [p.name for p in folder.iterdir()] == ["data.bin"]
        assert (folder / "data.bin").read_bytes() == CONTENT
    assert requests == ["/data.bin"]


def test_a_wrong_file_leaves_nothing(tmp_path, server):
    address, _ = server
    original = Original(f"{address}/data.bin", "sha256:" + "0" * 64)
    with pytest.raises(DatasetError, match=r"cannot download ours .*--data-dir"):
        download("ours", [original], tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_the_files_before_a_failure_stay(tmp_path, server):
    address, requests = server
    originals = [
        Original(f"{address}/data.bin", checksum("sha256")),
        Original(f"{address}/gone.bin", checksum("sha256")),
    ]
    for _ in range(2):
        with pytest.raises(DatasetError, match=r"404.*gone\.bin.*--data-dir"):
            download("ours", originals, tmp_path / "cache")
        assert [p.name for p in (tmp_path / "cache").iterdir()] == ["data.bin"]
    assert requests.count("/data.bin") == 1


def test_no_server_is_a_clear_error(tmp_path, server):
    address, _ = server
    unused = address.rsplit(":", 1)[0] + ":1"
    with pytest.raises(DatasetError, match="cannot download ours"):
        download("ours", [Original(f"{unused}/data.bin", checksum("md5"))], tmp_path)


@pytest.mark.parametrize("name", ORIGINALS)
def test_every_original_has_a_strong_checksum(name):
    for original in ORIGINALS[name]:
        algorithm, _, digest = original.checksum.partition(":")
        assert algorithm == "sha256"
        assert len(bytes.fromhex(digest)) == 32
        assert original.url.startswith("https://")
