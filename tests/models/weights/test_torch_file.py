"""PyTorch's files, honest, damaged and hostile. tests/torchvision reads those of PyTorch itself."""

import zipfile
from collections import OrderedDict

import numpy as np
import pytest
from safetensors.numpy import save_file

from models.weights import torch_file
from models.weights.carry import WeightsError

RNG = np.random.default_rng(0)
STATE = {
    "conv.weight": RNG.standard_normal((5, 3, 2, 2)).astype(np.float32),
    "conv.bias": RNG.standard_normal(5),
    "bn.num_batches_tracked": np.array(7),
    "half": RNG.standard_normal((2, 3)).astype(np.float16),
    "nothing": np.zeros((0, 4), np.float32),
}


def assert_same(got, wanted) -> None:
    assert got.keys() == wanted.keys()
    for name, array in wanted.items():
        assert got[name].dtype == array.dtype
        np.testing.assert_array_equal(got[name], array)


@pytest.mark.parametrize("key", [None, "state_dict", "model"])
def test_a_state_dict_alone_or_in_a_checkpoint(key, write, tmp_path) -> None:
    optimizer = {"state": {0: {"momentum": np.ones(4, np.float32)}}, "lr": 0.1}
    content = STATE if key is None else {key: STATE, "epoch": 3, "optimizer": optimizer}
    assert_same(torch_file.read(write(tmp_path / "a.pth", content)), STATE)


def test_the_wrapper_of_data_parallel_is_taken_off(write, tmp_path) -> None:
    content = {f"module.{name}": array for name, array in STATE.items()}
    assert_same(torch_file.read(write(tmp_path / "a.pth", content)), STATE)


def test_views_share_a_storage(write, torch_formats, tmp_path) -> None:
    numbers = np.arange(12.0)
    content = {
        "transposed": torch_formats.tensor(numbers, "0", 0, (4, 3), (1, 4)),
        "part": torch_formats.tensor(numbers, "0", 5, (2,), (3,)),
    }
    got = torch_file.read(write(tmp_path / "a.pth", content))
    np.testing.assert_array_equal(got["transposed"], numbers.reshape(3, 4).T)
    np.testing.assert_array_equal(got["part"], [5.0, 8.0])


def test_parameters_and_ordered_dicts(write, torch_formats, tmp_path) -> None:
    tensor = torch_formats.tensor(STATE["conv.bias"], "0")
    parameter = torch_formats.call("torch._utils", "_rebuild_parameter", tensor, True, {})
    path = write(tmp_path / "a.pth", OrderedDict({"p": parameter}))
    np.testing.assert_array_equal(torch_file.read(path)["p"], STATE["conv.bias"])


def test_safetensors(tmp_path) -> None:
    save_file(STATE, tmp_path / "a.safetensors")
    assert_same(torch_file.read(tmp_path / "a.safetensors"), STATE)


@pytest.mark.parametrize(
    ("module", "name", "arguments"),
    [
        ("os", "system", ("touch ran",)),
        ("builtins", "eval", ("open('ran', 'w')",)),
        ("builtins", "getattr", ({}, "keys")),
        ("numpy", "load", ("x",)),
        ("torch", "load", ("x",)),
        ("torch.nn.modules.linear", "Linear", (2, 3)),
        ("models.weights.torch_file", "read", ("x",)),
    ],
)
def test_a_call_of_anything_else_is_refused_and_not_made(
    module, name, arguments, write, torch_formats, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    content = {"a": STATE["half"], "b": torch_formats.call(module, name, *arguments)}
    with pytest.raises(WeightsError, match=rf"{name}, which is refused"):
        torch_file.read(write(tmp_path / "a.pth", content))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [
        (0, (7,), (1,)),  # longer than the storage
        (4, (3,), (1,)),  # begins too late
        (0, (3,), (3,)),  # steps over the end
        (-1, (2,), (1,)),  # begins before it
        (2, (3,), (-2,)),  # steps back over the start
        (0, (1 << 40,), (0,)),  # one number, a terabyte of times
        (0, (-1,), (1,)),
        (0, ("6",), (1,)),
        (0, (1 << 62, 1 << 62), (1, 1)),
    ],
)
def test_a_tensor_never_reads_beyond_its_storage(
    offset, size, stride, write, torch_formats, tmp_path
) -> None:
    tensor = torch_formats.tensor(np.arange(6.0), "0", offset, size, stride)
    with pytest.raises(WeightsError):
        torch_file.read(write(tmp_path / "a.pth", {"a": tensor}))


@pytest.mark.parametrize("content", [{}, [], "text", {"a": 1}, {"a": {"b": STATE}}, {1: {}}])
def test_without_a_state_dict(content, write, tmp_path) -> None:
    with pytest.raises(WeightsError, match="no state dict"):
        torch_file.read(write(tmp_path / "a.pth", content))


@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_file_that_is_cut_off(kept, write, tmp_path) -> None:
    path = write(tmp_path / "a.pth", STATE)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(WeightsError):
        torch_file.read(path)


def test_a_storage_said_to_be_larger_than_the_file_takes_no_memory(torch_formats, tmp_path) -> None:
    numbers = np.arange(6.0)
    path = torch_formats.legacy(tmp_path / "a.pth", {"a": numbers})
    data = path.read_bytes()
    tail = 8 + numbers.nbytes
    path.write_bytes(data[:-tail] + (1 << 50).to_bytes(8, "little") + numbers.tobytes())
    with pytest.raises(WeightsError, match="cut off"):
        torch_file.read(path)


def test_a_compressed_file_is_refused(torch_formats, tmp_path) -> None:
    zeros = {"a": np.zeros(1 << 20)}
    path = torch_formats.zipped(tmp_path / "a.pth", zeros, zipfile.ZIP_DEFLATED)
    with pytest.raises(WeightsError, match="compressed"):
        torch_file.read(path)


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
def test_a_file_of_another_kind(name, tmp_path) -> None:
    (tmp_path / name).write_bytes(b"\x89PNG\r\n\x1a\n and more")
    with pytest.raises(WeightsError, match="damaged, or no weights"):
        torch_file.read(tmp_path / name)
    with zipfile.ZipFile(tmp_path / "b.pth", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(WeightsError, match=r"not one of torch\.save"):
        torch_file.read(tmp_path / "b.pth")


def test_no_file(tmp_path) -> None:
    with pytest.raises(OSError, match="absent"):
        torch_file.read(tmp_path / "absent.pth")
