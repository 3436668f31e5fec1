"""Where a call's time went, as every answer tells it."""

from typing import NamedTuple

NAME = "triptych-account"


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

    def text(self) -> str:
        """A dictionary of RFC 9651. One entry of metadata, as gRPC takes some 10 us of a core for
        each, at both ends together."""
        return (
            f"queue-us={self.queue_us}, decode-us={self.decode_us}, "
            f"compute-us={self.compute_us}, batch-size={self.batch_size}, "
            f"version={self.version}, executor={self.executor}"
        )

    def metadata(self) -> tuple[tuple[str, str]]:
        """As trailing metadata of gRPC, or headers of HTTP."""
        return ((NAME, self.text()),)
