"""What `classify` prints, whatever the names and answers hold."""

import json

from triptych.classify import json_line, show
from triptych.client import Answer


def test_the_table_takes_markup_and_control_characters_as_they_are(capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    labels = [("[red]a[/red]", 0.5)]
    show(
        [
            Answer("new\nline\ttab\x1b[31m[/b]", "[/x]", 3, labels, None, 1.25),
            Answer("x/" * 60 + "end.png", "m", None, error="[bold]no"),
        ]
    )
    text = capsys.readouterr().out
    assert "new line tab [31m[/b]" in text
    assert "[red]a[/red] 0.500" in text
    assert "[/x]" in text
    assert "[bold]no" in text
    assert "/end.png" in text
    assert "\x1b" not in text
    assert len(text.splitlines()) == 3
    assert max(map(len, text.splitlines())) <= 80


def test_json_has_these_keys_in_this_order() -> None:
    answer = Answer("谁.txt", "m", 3, [("问", 0.75), ("b", 0.25)], None, 1.25)
    assert json_line(answer) == (
        '{"input": "谁.txt", "model": "m", "version": 3, "labels": [{"label": "问", "score": 0.75},'
        ' {"label": "b", "score": 0.25}], "error": null}'
    )


def test_json_stays_json_for_names_of_any_bytes() -> None:
    name = "\udcff\n.txt"
    line = json_line(Answer(name, None, None, error="no"))
    line.encode()  # what a terminal or a pipe gets
    assert "\n" not in line
    assert json.loads(line) == {
        "input": name,
        "model": None,
        "version": None,
        "labels": [],
        "error": "no",
    }
