"""`triptych models serving` against a remote end that no one of the product wrote."""

import json

import grpc
from click.testing import Result
from typer.testing import CliRunner

from triptych.main import app


def models(remote, *arguments) -> Result:
    return CliRunner().invoke(app, ["models", "serving", "--server", remote.address, *arguments])


def test_list(remote) -> None:
    remote.add("photos", "image", 12, 11)
    remote.add("waiting", "text")
    _, photos, waiting = models(remote).stdout.splitlines()
    assert photos.split() == ["photos", "image", "12,", "11", "3"]
    assert "none is ready" in waiting
    answer = json.loads(models(remote, "--json").stdout)
    assert [model["name"] for model in answer["models"]] == ["photos", "waiting"]


def test_a_model_of_which_no_version_is_ready(remote) -> None:
    remote.add("waiting", "text")
    shown = models(remote, "waiting").stdout
    assert "version 7" in shown
    assert "FAILED" in shown
    assert "half-copied" in shown


def test_an_unknown_name_is_one_line(remote) -> None:
    remote.add("photos", "image", 1)
    result = models(remote, "nope")
    assert result.exit_code == 1
    assert "known: photos" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_server_that_cannot_answer_is_one_line(remote) -> None:
    remote.list_error = grpc.StatusCode.UNIMPLEMENTED, "no such method"
    result = models(remote)
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
