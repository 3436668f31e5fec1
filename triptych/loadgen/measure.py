"""A server's address and a protocol's name -> how it does under each load, one after another."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import NamedTuple

import grpc

from triptych.client import channel_options, connect
from triptych.loadgen import open_inference, tensorflow_serving, triptych_v1
from triptych.loadgen.calls import StreamCaller, UnaryCaller
from triptych.loadgen.closed_loop import WARM_UP_SECONDS, Load, closed_loop
from triptych.loadgen.plan import CannotPlan, Plan, Wanted

PROTOCOLS: dict[str, Callable[[grpc.aio.Channel, Wanted], Awaitable[Plan]]] = {
    "triptych": triptych_v1.plan,
    "oip": open_inference.plan,
    "tfserving": tensorflow_serving.plan,
}


class Terms(NamedTuple):
    """Of one load after another. watched: the core-seconds that another process has used so far."""

    concurrency: Sequence[int] = (1, 8, 32)
    seconds: float = 5.0
    stream: bool = False
    warm_up_seconds: float = WARM_UP_SECONDS
    watched: Callable[[], float] = lambda: 0.0


async def measure(
    server: str, protocol: str, wanted: Wanted, terms: Terms
) -> AsyncIterator[tuple[Plan, Load]]:
    """
    Raises: ServerAbsent; CannotPlan; AioRpcError if the server refuses to say what the model
            takes. What a request under load comes to is in the Load.
    """
    async with grpc.aio.insecure_channel(server, options=channel_options(server)) as channel:
        await connect(channel, server)
        plan = await PROTOCOLS[protocol](channel, wanted)
        if terms.stream and plan.stream is None:
            raise CannotPlan(f"{protocol} has no stream: leave --stream out")
        for concurrency in terms.concurrency:
            make = StreamCaller if terms.stream else UnaryCaller
            caller = make(channel, plan, wanted.timeout_seconds)
            try:
                load = await closed_loop(
                    caller,
                    concurrency,
                    terms.seconds,
                    warm_up_seconds=terms.warm_up_seconds,
                    watched=terms.watched,
                )
            finally:
                await caller.close()
            yield plan, load
