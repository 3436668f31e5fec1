"""A server in a process of its own, for tests of what it costs: its memory, and others' time."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NO_POLLING = 3600.0  # the tests ask for what they want
END_SECONDS = 60.0
# Of the same outcome on each machine: nothing is measured, and nothing kept.
DEFAULTS = {
    "host": "localhost",
    "grpc_port": 0,
    "http_port": 0,
    "poll_seconds": NO_POLLING,
    "executor": "openvino",
    "measure_seconds": 0,
    "cache": None,
}
PROGRAM = """
import uvloop
from serving.lean import leave_out_training
leave_out_training()
from serving.server import serve
from serving.settings import Settings

uvloop.run(serve(Settings(), lambda ready: print(ready.grpc_port, flush=True)))
"""


class ServerProcess:
    def __init__(self, child: subprocess.Popen, grpc_port: int) -> None:
        self._child = child
        self.target = f"localhost:{grpc_port}"

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def resident_bytes(self) -> int:
        pages = int(Path(f"/proc/{self._child.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def server_process(repository: Path, **settings: object) -> Iterator[ServerProcess]:
    """Runs until the `with` block ends, and ends in good order then, or the test fails."""
    settings = {**DEFAULTS, **settings, "repository": repository}
    environment = {f"TRIPTYCH_{name.upper()}": str(value) for name, value in settings.items()}
    with tempfile.TemporaryFile("w+") as log:
        child = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        with child:
            try:
                port = child.stdout.readline()
                if not port:
                    log.seek(0)
                    raise RuntimeError(f"the server did not start: {log.read()}")
                yield ServerProcess(child, int(port))
                child.terminate()
                assert child.wait(END_SECONDS) == 0
            finally:
                child.kill()
