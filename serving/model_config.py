"""What NAME/model.toml says of a model: which versions, their labels, and how they are run.

Where the file lies is `serving.repository`'s matter; what a policy asks for, and what a label or
a limit does, is that of those who use them.
"""

import difflib
import re
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from serving.errors import TriptychError
from serving.runtime.decoding import Limits
from serving.version_policy import All, Latest, Policy, Specific

FILE = "model.toml"
MAX_FILE_BYTES = 64 * 2**10
MAX_SHOWN_CHARACTERS = 80  # of a name or value that a message repeats
MAX_MISTAKES = 20  # that are told
LABEL = re.compile(r"[a-zA-Z0-9_]+")  # as TensorFlow Serving's REST addresses take it
POLICIES = '"latest", "all", {latest = 2} or {specific = [1, 3]}'

Count = Annotated[int, Field(ge=1, lt=2**31)]
VersionNumber = Annotated[int, Field(ge=1, lt=2**63)]


class BadModelConfig(TriptychError):
    """A line for each mistake in a model.toml."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Batching(_Section):
    """As the server's own settings; None: those."""

    max_batch_size: Count | None = None
    batch_timeout_us: Annotated[int, Field(ge=0, le=60_000_000)] | None = None
    allowed_batch_sizes: Annotated[tuple[Count, ...], Field(strict=False)] | None = None
    max_queue_size: Count | None = None
    queue_timeout_ms: Annotated[int, Field(ge=0, le=3_600_000)] | None = None

    @model_validator(mode="after")
    def _sizes_end_in_the_largest(self) -> "Batching":
        sizes = self.allowed_batch_sizes
        if sizes is None:
            return self
        if not sizes or list(sizes) != sorted(set(sizes)):
            raise ValueError("allowed_batch_sizes must increase, as [1, 8, 32] does")
        if sizes[-1] != self.max_batch_size:
            raise ValueError(
                f"the last of allowed_batch_sizes is {sizes[-1]}: set max_batch_size to it too"
            )
        return self


class InputLimits(_Section):
    """The fields of `serving.runtime.decoding.Limits`; None: the server's setting."""

    max_input_bytes: Count | None = None
    max_pixels: Count | None = None
    max_audio_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    max_characters: Count | None = None


class ModelConfig(_Section):
    """None: the server's default."""

    version_policy: Policy = Latest()
    labels: Mapping[str, VersionNumber] = Field(default_factory=dict)
    executor: Literal["auto", "openvino", "tensorflow"] | None = None
    precision: Literal["f32", "auto"] | None = None
    batching: Batching = Batching()
    limits: InputLimits = InputLimits()

    @field_validator("version_policy", mode="plain")
    @classmethod
    def _policy(cls, value: object) -> Policy:
        if isinstance(value, Latest | All | Specific):
            return value
        if value == "latest":
            return Latest()
        if value == "all":
            return All()
        if isinstance(value, dict) and len(value) == 1:
            ((kind, what),) = value.items()
            if kind == "latest" and _is_number(what):
                return Latest(what)
            if (
                kind == "specific"
                and isinstance(what, list)
                and what
                and all(map(_is_number, what))
            ):
                return Specific(frozenset(what))
        raise ValueError(f"a policy is {POLICIES}")

    @field_validator("labels")
    @classmethod
    def _label_names(cls, labels: Mapping[str, int]) -> Mapping[str, int]:
        for name in labels:
            if not LABEL.fullmatch(name) or name.isdigit():
                raise ValueError(
                    f"{name[:MAX_SHOWN_CHARACTERS]!r} is no label: letters, digits and _ are "
                    "taken, and at least one that is no digit"
                )
        return labels

    @property
    def loading(self) -> tuple[object, ...]:
        """What counts when a version is loaded; the rest counts at once."""
        return self.executor, self.precision, self.batching, self.limits

    def limits_over(self, default: Limits) -> Limits:
        """The server's limits, but for those that the model sets itself."""
        own = self.limits.model_dump(exclude_none=True)
        return replace(default, **own)


def _is_number(value: object) -> bool:
    return type(value) is int and 1 <= value < 2**63


def read_config(folder: Path) -> ModelConfig:
    """Of the model in `folder`; the defaults if it has no model.toml. Blocking.

    Raises: BadModelConfig, with a line for each mistake.
    """
    path = folder / FILE
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # a pipe would never end
            raise BadModelConfig(f"{_shown(path)} is no file: replace it by one")
        if found.st_size > MAX_FILE_BYTES:
            raise BadModelConfig(
                f"{_shown(path)} has {found.st_size:,} bytes, and {MAX_FILE_BYTES:,} are read"
            )
        with path.open("rb") as file:
            content = tomllib.load(file)
        return ModelConfig.model_validate(content)
    except FileNotFoundError:
        if path.is_symlink():  # the defaults would unload what its policy keeps
            raise BadModelConfig(f"{_shown(path)} is a link to nothing: mend it") from None
        return ModelConfig()
    except ValidationError as error:
        raise BadModelConfig(_explain(error, _shown(path))) from error
    # Most ValueErrors are of UTF-8 and TOML; one is of a number with thousands of digits.
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise BadModelConfig(f"{_shown(path)} cannot be read: {reason}") from error


def _shown(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def _explain(error: ValidationError, file: str) -> str:
    """A line for each mistake: where it is, what is there, and what is accepted."""
    lines = []
    mistakes = error.errors(include_url=False, include_context=False)
    for item in mistakes[:MAX_MISTAKES]:
        where = _cut(".".join(map(str, item["loc"])))
        if item["type"] == "extra_forbidden":
            lines.append(f"{file}: {where} is no setting. {_settings_beside(item['loc'])}")
            continue
        message = item["msg"].removeprefix("Value error, ")
        lines.append(f"{file}: {where} is {_repr(item['input'])}: {message}")
    if len(mistakes) > MAX_MISTAKES:
        lines.append(f"{file}: and {len(mistakes) - MAX_MISTAKES:,} more mistakes")
    return "\n".join(lines)


def _repr(value: object) -> str:
    try:
        return _cut(repr(value))
    except ValueError:
        return "a number of thousands of digits"


def _cut(text: str) -> str:
    return text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[:MAX_SHOWN_CHARACTERS]}..."


def _settings_beside(place: tuple[int | str, ...]) -> str:
    sections: dict[Any, type[_Section]] = {"batching": Batching, "limits": InputLimits}
    section = sections.get(place[0], ModelConfig) if len(place) > 1 else ModelConfig
    known = list(section.model_fields)
    close = difflib.get_close_matches(str(place[-1])[:MAX_SHOWN_CHARACTERS], known, n=1)
    guess = f"Did you mean {close[0]}? " if close else ""
    return f"{guess}There are {', '.join(known)}"
