"""docs/coverage.md has every row, and names nothing that isn't there."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/coverage.md").read_text()
ROWS = re.findall(r"^\| (\d+)(?: ⚠)? \| (.+?) \| (.+) \|$", PAGE, re.MULTILINE)
TESTS = {
    name
    for path in (ROOT / "tests").rglob("test_*.py")
    for name in re.findall(r"^\s*(?:async )?def (test_\w+)\(", path.read_text(), re.MULTILINE)
}


def test_every_row_is_there_once_and_says_where() -> None:
    assert [int(row) for row, _, _ in ROWS] == [*range(1, 40), *range(75, 166)]
    reasons = ("not applicable", "not here", "open:")
    silent = [row for row, _, where in ROWS if "`" not in where and not where.startswith(reasons)]
    assert silent == []


def test_what_it_names_exists() -> None:
    named = re.findall(r"`([^`]+)`", PAGE)
    assert sorted({name for name in named if name.startswith("test_")} - TESTS) == []
    paths = {name for name in named if "/" in name and "*" not in name}
    assert sorted(name for name in paths if not (ROOT / name).exists()) == []
