"""docs/explain.md has each method's picture in each domain, and the command that makes it."""

import re
from pathlib import Path

import pytest

from pipelines.explain import METHODS
from pipelines.explain.compare import RANDOM

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/explain.md").read_text()
SAMPLES = {
    "cifar10": "samples/frog.jpg",
    "digits": "samples/seven.wav",
    "questions": "samples/galileo.txt",
}
LARGEST_BYTES = 150_000


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("model", SAMPLES)
def test_each_picture_is_there_with_its_command(model: str, method: str) -> None:
    if (model, method) == ("questions", "cam"):
        return  # there is none: the page says why
    sample = SAMPLES[model]
    name = f"images/explain/{Path(sample).stem}.{method}.png"
    assert f"]({name})" in PAGE
    assert f"triptych explain {sample} --model {model} --method {method}\n" in PAGE
    assert 1000 < (ROOT / "docs" / name).stat().st_size < LARGEST_BYTES


def test_no_picture_is_left_over() -> None:
    pictures = {path.name for path in (ROOT / "docs/images/explain").glob("*.*.png")}
    assert pictures == set(re.findall(r"images/explain/(\w+\.[\w+-]+\.png)", PAGE))


@pytest.mark.parametrize("model", SAMPLES)
def test_each_method_s_worth_is_tabled(model: str) -> None:
    section = PAGE.split(f"### {model}")[1].split("\n### ")[0]
    methods = re.findall(r"^\| ([\w+ -]+) \| 0\.\d{3} \| 0\.\d{3} \|", section, re.MULTILINE)
    assert methods == [m for m in (*METHODS, RANDOM) if (model, m) != ("questions", "cam")]
