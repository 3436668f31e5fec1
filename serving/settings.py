"""Everything that can be set about a server: TRIPTYCH_* in the environment, or the command line."""

from pathlib import Path
from typing import Literal

import platformdirs
from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from serving.runtime.decoding import Limits
from serving.runtime.threads import thread_budget

PREFIX = "TRIPTYCH_"
MIB = 2**20
MAX_MESSAGE_BYTES = 2**31 - 1  # of gRPC
MAX_SHOWN_CHARACTERS = 80  # of a value that a message repeats


class Settings(BaseSettings):
    """The defaults serve one machine; a description says what a setting costs or buys."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="ignore"
    )

    repository: Path = Field(Path("model_repository"), description="folder NAME/VERSION/")
    host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0 is all of them")
    grpc_port: int = Field(8500, ge=0, le=65535, description="0 takes any free port")
    http_port: int = Field(8501, ge=0, le=65535, description="0 takes any free port")
    workers: int = Field(
        1,
        ge=1,
        le=256,
        description="processes on one port; one serves some eight cores. Threads are shared out "
        "among them; queues and all other limits are each one's own",
    )
    reuse_port: bool = Field(False, description="share the ports with other servers")
    executor: Literal["auto", "openvino", "tensorflow"] = Field(
        "auto", description="what computes; auto measures both at load, and takes the faster"
    )
    precision: Literal["f32", "auto"] = Field(
        "f32", description="auto: bf16 where the golden inputs keep their scores and it is faster"
    )
    threads: int = Field(
        default_factory=thread_budget,
        ge=1,
        description="that compute, of all models together; by default what the CPU quota gives",
    )
    cache: Path | None = Field(
        default_factory=lambda: platformdirs.user_cache_path("triptych"),
        description="folder for prepared models and what was measured; none keeps nothing: each "
        "start takes longer, and new versions hold others up",
    )
    measure_seconds: float = Field(
        2.0, ge=0, le=600, description="for finding a model's fastest executor and batch, once"
    )
    prepare_nice: int = Field(
        19,
        ge=0,
        le=19,
        description="priority of the process that prepares new versions while others are served; "
        "at 19 it gets what nobody else wants",
    )
    poll_seconds: float = Field(
        1.0, gt=0, le=3600, description="between two looks at the repository"
    )
    drain_seconds: float = Field(30.0, ge=0, le=3600, description="for calls in flight at the end")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="the least that is logged"
    )

    max_batch_size: int = Field(
        32, ge=1, description="inputs that are computed together; the best size is measured"
    )
    batch_timeout_us: int = Field(
        0, ge=0, le=60_000_000, description="that a lone input waits for company"
    )
    max_queue_size: int = Field(1024, ge=1, description="inputs that wait, for each model")
    queue_timeout_ms: int = Field(
        0, ge=0, le=3_600_000, description="that an input waits at most; 0: as its caller does"
    )
    preprocess_threads: int = Field(
        default_factory=thread_budget,
        ge=1,
        description="that decode and preprocess; one for each processor by default",
    )

    explain_workers: int = Field(
        1,
        ge=1,
        le=64,
        description="processes that explain; each is started when it is first needed, and has "
        "TensorFlow and the models in memory again",
    )
    explain_nice: int = Field(
        19,
        ge=0,
        le=19,
        description="their priority; at 19 they get what nobody else wants, and a smaller one "
        "shortens explanations on a busy machine at the cost of those who classify",
    )
    explain_share: float = Field(
        0.03,
        gt=0,
        le=1,
        description="of the time, that each of them may work while others are classified",
    )
    explain_queue_size: int = Field(16, ge=1, description="explanations that wait or are made")
    explain_timeout_seconds: float = Field(
        60.0, gt=0, le=3600, description="for an explanation, waiting included"
    )
    explain_max_bytes: int = Field(
        8 * MIB, ge=1, description="of an input to be explained, encoded"
    )

    max_request_bytes: int = Field(
        64 * MIB, ge=1024, le=MAX_MESSAGE_BYTES, description="of one gRPC message"
    )
    max_inputs_per_request: int = Field(256, ge=1, description="images, sounds or texts of a call")
    max_input_bytes: int = Field(Limits.max_input_bytes, ge=1, description="of one input, encoded")
    max_pixels: int = Field(Limits.max_pixels, ge=1, description="of one image, decoded")
    max_audio_seconds: float = Field(
        Limits.max_audio_seconds, gt=0, allow_inf_nan=False, description="of one sound"
    )
    max_characters: int = Field(Limits.max_characters, ge=1, description="of one text")

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, level: object) -> object:
        return level.upper() if isinstance(level, str) else level

    @field_validator("cache", mode="before")
    @classmethod
    def _no_cache(cls, folder: object) -> object:
        # For an empty variable is as good as none at all.
        return None if isinstance(folder, str) and folder.lower() == "none" else folder

    @property
    def limits(self) -> Limits:
        return Limits(
            self.max_input_bytes, self.max_pixels, self.max_audio_seconds, self.max_characters
        )


def explain(error: ValidationError) -> str:
    """A line for each wrong setting: its name, its value, and what is accepted."""
    lines = []
    for item in error.errors():
        value = repr(item["input"])
        if len(value) > MAX_SHOWN_CHARACTERS:
            value = f"{value[:MAX_SHOWN_CHARACTERS]}..."
        lines.append(f"{PREFIX}{'.'.join(map(str, item['loc'])).upper()} is {value}: {item['msg']}")
    return "\n".join(lines)
