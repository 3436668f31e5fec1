"""What a model.toml may say, and what is told of one that is wrong."""

import os
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.model_config import (
    MAX_FILE_BYTES,
    MAX_MISTAKES,
    BadModelConfig,
    ModelConfig,
    read_config,
)
from serving.runtime.decoding import Limits
from serving.version_policy import All, Latest, Specific

EVERYTHING = """
version_policy = {specific = [1, 3]}
labels = {stable = 1, canary_2 = 3}
executor = "openvino"
precision = "auto"

[batching]
max_batch_size = 32
batch_timeout_us = 0
allowed_batch_sizes = [1, 8, 32]
max_queue_size = 100
queue_timeout_ms = 0

[limits]
max_input_bytes = 1000
max_pixels = 2000
max_audio_seconds = 3
max_characters = 4000
"""


def write(folder, text):
    folder.mkdir(exist_ok=True)
    (folder / "model.toml").write_text(text)
    return folder


def problems(folder):
    with pytest.raises(BadModelConfig) as caught:
        read_config(folder)
    return str(caught.value).splitlines()


def test_everything(tmp_path):
    config = read_config(write(tmp_path / "cats", EVERYTHING))

    assert config.version_policy == Specific(frozenset({1, 3}))
    assert config.labels == {"stable": 1, "canary_2": 3}
    assert (config.executor, config.precision) == ("openvino", "auto")
    assert config.batching.model_dump() == {
        "max_batch_size": 32,
        "batch_timeout_us": 0,
        "allowed_batch_sizes": (1, 8, 32),
        "max_queue_size": 100,
        "queue_timeout_ms": 0,
    }
    assert config.limits_over(Limits()) == Limits(1000, 2000, 3.0, 4000)


@pytest.mark.parametrize("text", [None, "", "# nothing\n[batching]\n[limits]\n"])
def test_what_is_not_said_is_the_servers_matter(tmp_path, text):
    folder = tmp_path if text is None else write(tmp_path, text)

    config = read_config(folder)

    assert config == ModelConfig()
    assert config.version_policy == Latest(1)
    assert config.labels == {}
    assert set(config.batching.model_dump().values()) == {None}
    own = Limits(1, 2, 3.0, 4)
    assert config.limits_over(own) == own


def test_one_limit_leaves_the_others(tmp_path):
    config = read_config(write(tmp_path, "limits.max_pixels = 7"))
    assert config.limits_over(Limits(1, 2, 3.0, 4)) == Limits(1, 7, 3.0, 4)


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ('"latest"', Latest(1)),
        ("{latest = 3}", Latest(3)),
        ('"all"', All()),
        ("{specific = [7]}", Specific(frozenset({7}))),
    ],
)
def test_version_policies(tmp_path, text, policy):
    assert read_config(write(tmp_path, f"version_policy = {text}")).version_policy == policy


POLICY = 'a policy is "latest", "all", {latest = 2} or {specific = [1, 3]}'
LABEL = "letters, digits and _ are taken, and at least one that is no digit"
INCREASE = "allowed_batch_sizes must increase, as [1, 8, 32] does"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('version_policy = "newest"', f"version_policy is 'newest': {POLICY}"),
        ("version_policy = 2", POLICY),
        ("version_policy = {latest = 0}", POLICY),
        ("version_policy = {latest = true}", POLICY),
        ("version_policy = {latest = 1, specific = [1]}", POLICY),
        ("version_policy = {specific = []}", POLICY),
        ("version_policy = {specific = [1, -1]}", POLICY),
        ('version_policy = {specific = ["1"]}', POLICY),
        ("labels = {12 = 1}", f"'12' is no label: {LABEL}"),
        ('labels = {"a-b" = 1}', f"'a-b' is no label: {LABEL}"),
        ('labels = {"" = 1}', f"'' is no label: {LABEL}"),
        ("labels = {stable = 0}", "labels.stable is 0: Input should be greater than"),
        ('labels = {stable = "1"}', "labels.stable is '1': Input should be a valid integer"),
        ("labels = {stable = true}", "labels.stable is True: Input should be a valid integer"),
        (f"labels = {{stable = {2**63}}}", "labels.stable is"),
        ("labels = [1]", "labels is [1]: Input should be a valid"),
        ('executor = "onnx"', "executor is 'onnx': Input should be 'auto', 'openvino' or"),
        ('precision = "bf16"', "precision is 'bf16': Input should be 'f32' or 'auto'"),
        ("batching.max_batch_size = 0", "batching.max_batch_size is 0: Input should be greater"),
        ("batching.max_batch_size = 1.5", "batching.max_batch_size is 1.5: Input should be"),
        ("batching.batch_timeout_us = -1", "batching.batch_timeout_us is -1"),
        ("batching.queue_timeout_ms = -1", "batching.queue_timeout_ms is -1"),
        ("batching.max_queue_size = 0", "batching.max_queue_size is 0"),
        ("batching.allowed_batch_sizes = []", INCREASE),
        ("batching.allowed_batch_sizes = [8, 1]", INCREASE),
        ("batching.allowed_batch_sizes = [1, 1]", INCREASE),
        ("batching.allowed_batch_sizes = [1, 8]", "is 8: set max_batch_size to it too"),
        ("batching.allowed_batch_sizes = [0, 8]", "batching.allowed_batch_sizes.0 is 0"),
        ("batching = 1", "batching is 1: Input should be"),
        (
            "limits.max_audio_seconds = inf",
            "limits.max_audio_seconds is inf: Input should be a fin",
        ),
        ("limits.max_audio_seconds = 0", "limits.max_audio_seconds is 0"),
        ("limits.max_pixel = 1", "limits.max_pixel is no setting. Did you mean max_pixels?"),
        ("max_batch_size = 1", "max_batch_size is no setting. There are version_policy, labels"),
        ("batching.batch_size = 1", "There are max_batch_size, batch_timeout_us, allowed"),
        ("version_policy =", "cannot be read: Invalid value (at"),
        ("x = " + "[" * 5000, "cannot be read: "),
    ],
)
def test_a_mistake_is_named_with_what_is_accepted(tmp_path, line, problem):
    (told,) = problems(write(tmp_path / "cats", line))
    assert told.startswith("cats/model.toml")
    assert problem in told
    assert len(told) < 500


def test_a_line_for_each_mistake(tmp_path):
    text = 'precision = "f16"\nexecuter = "auto"\n[batching]\nmax_batch_size = 0\n'
    assert [line.split(" is ")[0] for line in problems(write(tmp_path / "cats", text))] == [
        "cats/model.toml: precision",
        "cats/model.toml: batching.max_batch_size",
        "cats/model.toml: executer",
    ]


def test_a_long_value_is_cut(tmp_path):
    (told,) = problems(write(tmp_path, f'executor = "{"x" * 10_000}"'))
    assert "xxx..." in told
    assert len(told) < 300


def test_what_is_no_toml_file(tmp_path):
    (tmp_path / "model.toml").write_bytes(b'executor = "\xff"')
    assert "cannot be read" in problems(tmp_path)[0]
    (tmp_path / "model.toml").unlink()
    os.mkfifo(tmp_path / "model.toml")  # to open it would wait for ever
    assert "is no file" in problems(tmp_path)[0]
    (tmp_path / "model.toml").unlink()
    (tmp_path / "model.toml").mkdir()
    assert "is no file" in problems(tmp_path)[0]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (f"labels.stable = {'1' * 5000}", "cannot be read: Exceeds the limit (4300 digits)"),
        (f"labels.stable = 0x{'f' * 5000}", "labels.stable is a number of thousands of digits"),
        (f"executor = 0x{'f' * 5000}", "executor is a number of thousands of digits: Input"),
        (f"version_policy = {{specific = [0x{'f' * 5000}]}}", "a number of thousands of digits"),
        (f"{'x' * 60_000} = 1", "xxx... is no setting"),
    ],
)
def test_what_python_itself_will_not_print_is_a_mistake_too(tmp_path, line, problem):
    """Past this, it would end the scan, and every other model would stay as it is."""
    (told,) = problems(write(tmp_path / "cats", line))
    assert problem in told
    assert len(told) < 500


def test_of_many_mistakes_the_first_are_told(tmp_path):
    told = problems(write(tmp_path / "cats", "\n".join(f"a{i} = 1" for i in range(5000))))
    assert len(told) == MAX_MISTAKES + 1
    assert told[-1] == f"cats/model.toml: and {5000 - MAX_MISTAKES:,} more mistakes"


def test_a_link_to_nothing_is_not_the_defaults(tmp_path):
    """Those might unload what the policy keeps."""
    (tmp_path / "model.toml").symlink_to("gone")
    assert "is a link to nothing" in problems(tmp_path)[0]


def test_a_huge_file_is_not_read(tmp_path):
    assert "65,536 are read" in problems(write(tmp_path, "#" * (MAX_FILE_BYTES + 1)))[0]


def test_a_link_is_followed(tmp_path):
    """As a Kubernetes ConfigMap lays it out."""
    write(tmp_path / "..data", "executor = 'tensorflow'")
    (tmp_path / "model.toml").symlink_to("..data/model.toml")
    assert read_config(tmp_path).executor == "tensorflow"


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("labels = {stable = 1}", False),
        ('version_policy = "all"', False),
        ('executor = "auto"', True),
        ('precision = "auto"', True),
        ("batching.max_queue_size = 7", True),
        ("limits.max_pixels = 7", True),
    ],
)
def test_what_counts_at_a_load_only(tmp_path, text, counts):
    config = read_config(write(tmp_path, text))
    assert (config.loading != ModelConfig().loading) is counts


@given(data=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_file_breaks_it(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("model")
    (folder / "model.toml").write_bytes(data)
    with suppress(BadModelConfig):
        read_config(folder)
