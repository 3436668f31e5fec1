"""One request's way to a server: a call of its own, or its place on a stream.

Bytes go out as they are, and answers come back as bytes: what they say is the plan's matter.
"""

import asyncio
from contextlib import suppress

import grpc

from triptych.loadgen.closed_loop import Failed, Sample
from triptych.loadgen.plan import Plan

ACCOUNT = "triptych-account"  # a dictionary of RFC 9651, in trailing metadata
KEPT_BYTES = 128 * 2**20  # of a stream's requests: more are put together as they are sent


class UnaryCaller:
    def __init__(self, channel: grpc.aio.Channel, plan: Plan, timeout_seconds: float) -> None:
        self.inputs = plan.inputs
        self._plan = plan
        self._timeout = timeout_seconds
        # Without serialisers bytes stay what they are.
        self._method = channel.unary_unary(plan.path)
        self._sent = 0

    async def call(self, slot: int, sampled: bool) -> Sample | None:
        bodies = self._plan.bodies
        self._sent += 1
        call = self._method(bodies[self._sent % len(bodies)], timeout=self._timeout)
        try:
            answer = await call
        except grpc.aio.AioRpcError as error:
            raise Failed(error.code().name, error.details() or "") from None
        if not sampled:
            return None
        told = dict(await call.trailing_metadata()).get(ACCOUNT)
        account = dict(item.split("=", 1) for item in told.split(", ")) if told else {}
        return Sample(self._plan.problem(answer), account)

    async def close(self) -> None:
        pass


class StreamCaller:
    """All slots on one stream, told apart by the requests' ids."""

    def __init__(self, channel: grpc.aio.Channel, plan: Plan, timeout_seconds: float) -> None:
        if plan.stream is None:
            raise ValueError("the protocol has no stream")
        self.inputs = plan.inputs
        self._plan, self._stream = plan, plan.stream
        self._timeout = timeout_seconds
        self._method = channel.stream_stream(self._stream.path)
        self._outgoing: asyncio.Queue[bytes] = asyncio.Queue()
        self._waiting: dict[str, asyncio.Future[bytes]] = {}
        self._bodies: dict[tuple[int, int], bytes] = {}
        self._kept = 0
        self._sent = 0
        self._reading: asyncio.Task[None] | None = None

    async def call(self, slot: int, sampled: bool) -> Sample | None:
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read())
        self._sent += 1
        number = str(slot)
        answered = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._outgoing.put_nowait(self._body(slot, self._sent % len(self._stream.bodies)))
        try:
            async with asyncio.timeout(self._timeout):
                answer = await answered
        except TimeoutError:
            raise Failed("DEADLINE_EXCEEDED", "no answer on the stream in time") from None
        finally:
            self._waiting.pop(number, None)
        refusal = self._stream.refusal(answer)
        if refusal is not None:
            raise Failed(*refusal)
        return self._stream.sample(answer) if sampled else None

    async def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            with suppress(asyncio.CancelledError):
                await self._reading

    def _body(self, slot: int, index: int) -> bytes:
        key = slot, index
        if key in self._bodies:
            return self._bodies[key]
        body = self._stream.head(str(slot)) + self._stream.bodies[index]
        if self._kept + len(body) <= KEPT_BYTES:
            self._bodies[key] = body
            self._kept += len(body)
        return body

    async def _send(self, stream: grpc.aio.StreamStreamCall) -> None:
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # the reader says why
            while True:
                await stream.write(await self._outgoing.get())

    async def _read(self) -> None:
        failed = Failed("UNAVAILABLE", "the server ended the stream")
        # Read and written by hand, which costs less than what gRPC makes of iterators.
        stream = self._method()
        sending = asyncio.create_task(self._send(stream))
        try:
            while (answer := await stream.read()) is not grpc.aio.EOF:
                waiting = self._waiting.pop(self._stream.id_of(answer), None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(answer)
        except grpc.aio.AioRpcError as error:
            failed = Failed(error.code().name, error.details() or "")
        finally:
            stream.cancel()
            sending.cancel()
            self._outgoing = asyncio.Queue()
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(failed)
