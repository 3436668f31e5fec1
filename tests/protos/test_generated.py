"""The committed modules are what the .proto files generate; messages survive their JSON."""

import os
import subprocess
import sys
from pathlib import Path

from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from protos.triptych.v1 import manifest_pb2

ROOT = Path(__file__).parents[2]


def test_generated_modules_are_current(tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    subprocess.run([ROOT / "protos/generate.sh", str(tmp_path)], check=True, env=environment)
    generated = sorted((tmp_path / "protos/triptych/v1").iterdir())
    assert len(generated) >= 5
    for path in generated:
        committed = ROOT / path.relative_to(tmp_path)
        assert committed.read_text() == path.read_text(), f"{committed.name}: run `make protos`"


@given(st.binary(max_size=64), st.lists(st.floats(0, 1, width=32), max_size=8), st.text())
def test_golden_examples_survive_json(data: bytes, scores: list[float], text: str) -> None:
    golden = manifest_pb2.GoldenSet()
    golden.examples.add(data=data, scores=scores)
    golden.examples.add(text=text)
    again = json_format.Parse(json_format.MessageToJson(golden), manifest_pb2.GoldenSet())
    assert again == golden
