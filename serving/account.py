"""Where a call's time went, as every answer tells it."""

from typing import NamedTuple


class Account(NamedTuple):
    """Where a call's time went: of its slowest input, where it has many."""

    queue_us: int = 0  # waiting for a batch
    decode_us: int = 0  # decoding and preprocessing, waiting for a worker included
    compute_us: int = 0  # of the whole batch
    batch_size: int = 0
    version: int = 0
    executor: str = ""

    @property
    def total_us(self) -> int:
        return self.queue_us + self.decode_us + self.compute_us

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """As trailing metadata of gRPC, or headers of HTTP."""
        return (
            ("triptych-queue-us", str(self.queue_us)),
            ("triptych-decode-us", str(self.decode_us)),
            ("triptych-compute-us", str(self.compute_us)),
            ("triptych-batch-size", str(self.batch_size)),
            ("triptych-version", str(self.version)),
            ("triptych-executor", self.executor),
        )
