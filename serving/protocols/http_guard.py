"""What every HTTP call passes: bounds on its body in bytes and time, and an answer to any mistake.

It is ASGI around the application. How a connection is held open or cut is `http_server`'s matter.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.engine import internal_error
from serving.errors import ENDING
from serving.protocols.http_refusals import refusal

BODY_SECONDS = 60.0
LINGER_SECONDS = 0.3  # of reading on after a refusal: a client that is reset may not see it
BODIES_IN_MEMORY = 4  # of max_request_bytes, of all calls together

TASK = "triptych.task"  # in the scope: what the connection cancels if the client leaves
LEFT = "triptych.left"  # in the scope: that it did


class Guard:
    """
    Args: max_request_bytes: of one body. Beyond it is 413, before anything is read where the
            client tells the length.
          body_seconds: for a body to arrive whole.
    """

    def __init__(
        self, app: ASGIApp, max_request_bytes: int, body_seconds: float = BODY_SECONDS
    ) -> None:
        self._app = app
        self._max_request_bytes = max_request_bytes
        self._body_seconds = body_seconds
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        call = _Call(scope, receive, send, self._check, self._body_seconds)
        if scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}  # the connection leaves the body out
        call.scope[TASK] = asyncio.current_task()
        try:
            await self._answer(call, scope)
        except asyncio.CancelledError:
            if LEFT not in call.scope:
                await call.refuse(503, f"{ENDING}: send the call to another one")
        finally:
            self._held -= call.size
            del call.scope[TASK]

    async def _answer(self, call: "_Call", scope: Scope) -> None:
        try:
            if call.length > self._max_request_bytes:
                raise self._too_large(f"has {call.length:,} bytes")
            await self._app(scope, call.receive, call.send)
        except ClientDisconnect:
            pass
        except HTTPException as error:
            await call.refuse(error.status_code, error.detail)
        except Exception as error:
            await call.refuse(500, str(internal_error(error)))

    def _check(self, size: int, more: int) -> None:
        """Called with the bytes a call has already, and those that have just come."""
        self._held += more
        if size + more > self._max_request_bytes:
            raise self._too_large("is larger than that")
        if self._held > BODIES_IN_MEMORY * self._max_request_bytes:
            raise HTTPException(
                429, "the bodies of other calls fill the memory that is set aside: send it later"
            )

    def _too_large(self, found: str) -> HTTPException:
        return HTTPException(
            413,
            f"{self._max_request_bytes:,} bytes are allowed in a request, and this one {found}: "
            "send less at once, or raise TRIPTYCH_MAX_REQUEST_BYTES",
        )


class _Call:
    """One request's body and answer, on their way through the guard."""

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        check: Callable[[int, int], None],
        seconds: float,
    ) -> None:
        headers = dict(scope["headers"])
        self.scope = scope
        self.length = int(headers.get(b"content-length", 0))
        self.size = 0
        self._unread = self.length > 0 or b"transfer-encoding" in headers
        self._receive = receive
        self._send = send
        self._check = check
        self._due = asyncio.get_running_loop().time() + seconds
        self._seconds = seconds
        self._started = False

    async def receive(self) -> Message:
        if not self._unread:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._due):
                message = await self._receive()
        except TimeoutError:
            raise HTTPException(
                408, f"the body did not arrive within {self._seconds:g} s: send it faster"
            ) from None
        if message["type"] == "http.request":
            more = len(message.get("body", b""))
            before, self.size = self.size, self.size + more
            self._check(before, more)
            self._unread = message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._started = True
            if self._unread:
                close = (b"connection", b"close")
                message = {**message, "headers": [*message.get("headers", ()), close]}
            await self._send(message)
        elif self._unread and not message.get("more_body", False):
            await self._send({**message, "more_body": True})
            await self._linger()
            await self._send({"type": "http.response.body"})
        else:
            await self._send(message)

    async def refuse(self, status: int, text: str) -> None:
        if not self._started:
            await refusal(status, text)(self.scope, self.receive, self.send)

    async def _linger(self) -> None:
        """The answer is out. What the client is still sending goes nowhere."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                message: dict[str, Any] = {"more_body": True}
                while message.get("more_body", False):
                    message = dict(await self._receive())
        self._unread = False
