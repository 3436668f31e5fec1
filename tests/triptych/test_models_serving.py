"""`triptych models serving` against a remote end that no one of the product wrote."""

import json

import grpc
from click.testing import Result
from typer.testing import CliRunner

from protos.triptych.v1 import classifier_pb2 as pb
from protos.triptych.v1 import manifest_pb2
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


def test_what_was_found_out_when_a_version_was_loaded(remote) -> None:
    remote.add("photos", "image", 3)
    ready = pb.VersionStatus(
        version=3,
        state=pb.VersionStatus.State.READY,
        executor="openvino",
        precision="bf16",
        precision_difference=0.00412,
        best_batch_size=4,
        speeds=[
            pb.Speed(executor="openvino bf16", batch_size=1, examples_per_second=1623.1),
            pb.Speed(executor="openvino bf16", batch_size=4, examples_per_second=3112.7),
            pb.Speed(executor="tensorflow f32", batch_size=1, examples_per_second=311.2),
        ],
        notes=["executors differ"],
    )
    labels = [f"class {number}" for number in range(1000)]
    manifest = manifest_pb2.Manifest(labels=labels)
    remote.in_full["photos"] = pb.GetModelResponse(
        name="photos", manifest=manifest, versions=[ready]
    )
    shown = " ".join(models(remote, "photos").stdout.split())
    assert "in bf16, best in batches of 4; bf16 is 0.0041 off in the worst score" in shown
    assert "openvino bf16 examples/s, alone: 1,623 by 1, 3,113 by 4" in shown
    assert "tensorflow f32 examples/s, alone: 311 by 1" in shown
    assert "note executors differ" in shown
    assert "class 19 and 980 others" in shown
    assert len(json.loads(models(remote, "photos", "--json").stdout)["manifest"]["labels"]) == 1000


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
