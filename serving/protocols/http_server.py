"""uvicorn in the server's own event loop: no thread, no signal handlers, no access log.

It adds what uvicorn leaves open: a time for the head of a request, a most of connections, and
that a client that leaves takes its call with it.
"""

import asyncio
import json
import resource
import socket
from functools import partial
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from serving.protocols.http_guard import LEFT, LINGER_SECONDS, TASK

HEAD_SECONDS = 10.0  # for a request's line and headers
KEEP_ALIVE_SECONDS = 60  # that a connection stays without a request
GRACE_SECONDS = 0.5  # for answers to leave, once the server ends
MOST_CONNECTIONS = 2_000
BACKLOG = 1_024


class HttpServer:
    """One listening port of an ASGI application.  `start`, then `stop`; once."""

    def __init__(
        self,
        app: Any,
        *,
        head_seconds: float = HEAD_SECONDS,
        most_connections: int = MOST_CONNECTIONS,
    ) -> None:
        self._config = uvicorn.Config(
            app,
            http=partial(  # type: ignore[arg-type]
                _Connection,
                head_seconds=head_seconds,
                most_connections=min(most_connections, _room_for_files()),
            ),
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            log_level="error",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            backlog=BACKLOG,
        )
        self._server = uvicorn.Server(self._config)
        self._socket: socket.socket | None = None
        self._ticking: asyncio.Task[None] | None = None

    async def start(self, host: str, port: int, *, reuse_port: bool = False) -> int:
        """Returns the port that was bound.

        Raises: OSError if it is taken, or the host is not an address of this machine.
        """
        try:
            self._socket = await _bind(host, port, reuse_port)
        except OSError as error:
            reason = error.strerror or str(error)
            raise OSError(
                f"cannot listen on {host} port {port} for HTTP: {reason}. Choose another with "
                "--http-port (0: any free one)"
            ) from error
        self._config.load()
        self._server.lifespan = self._config.lifespan_class(self._config)
        await self._server.startup(sockets=[self._socket])
        self._ticking = asyncio.create_task(self._server.main_loop())
        bound: int = self._socket.getsockname()[1]
        return bound

    async def stop(self, grace_seconds: float = GRACE_SECONDS) -> None:
        """Takes no more connections, answers what is in progress; cuts off what takes longer."""
        if self._ticking is None or self._socket is None:
            return
        ticking, self._ticking = self._ticking, None
        # First this: asyncio forgets a connection that it accepts while it closes the listener.
        asyncio.get_running_loop().remove_reader(self._socket)
        self._server.should_exit = True
        await ticking
        self._config.timeout_graceful_shutdown = grace_seconds  # type: ignore[assignment]
        await self._server.shutdown(sockets=[self._socket])
        cut_off = list(self._server.server_state.tasks)
        if cut_off:
            await asyncio.wait(cut_off, timeout=grace_seconds)
        for connection in list(self._server.server_state.connections):
            connection.transport.abort()


async def _bind(host: str, port: int, reuse_port: bool) -> socket.socket:
    found = await asyncio.get_running_loop().getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    family, _, _, _, address = found[0]
    both = host == "::" and socket.has_dualstack_ipv6()
    listening = socket.create_server(
        address[:2], family=family, backlog=BACKLOG, reuse_port=reuse_port, dualstack_ipv6=both
    )
    # Connections inherit it. asyncio sets it only on sockets whose protocol is named, and without
    # it an answer waits 40 ms for the client's acknowledgement.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def _room_for_files() -> int:
    """Half of what the process may open: gRPC and the models need some too."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return files // 2 if files > 0 else MOST_CONNECTIONS


class _Connection(H11Protocol):
    def __init__(self, *args: Any, head_seconds: float, most_connections: int, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._head_seconds = head_seconds
        self._most_connections = most_connections
        self._head_due: asyncio.TimerHandle | None = None
        self._refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self._most_connections:
            self._refuse(503, "too many connections are open: try again later")
            self.transport.close()  # lingering would make them more
        else:
            self._watch_head()

    def data_received(self, data: bytes) -> None:
        if not (self._refused or self.transport.is_closing()):
            super().data_received(data)
            self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        self._watch_head()
        self._end_call()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.conn.trailing_data[0]:  # of a next head, which came along with this one
            self._watch_head()

    def send_400_response(self, msg: str) -> None:
        self._refuse(
            400, "this is not HTTP/1.1, or its headers are larger than 16 KiB: send it otherwise"
        )

    def _end_call(self) -> None:
        """The guard ends the task without an answer, since there is nobody to send it to."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            scope: dict[str, Any] = self.scope  # type: ignore[assignment]
            task = scope.get(TASK)
            if task is not None:
                scope[LEFT] = True
                task.cancel()

    def _watch_head(self) -> None:
        """The time runs from a request's first byte, or a connection's first moment."""
        over = self._refused or self.transport.is_closing()
        waiting = self.conn.their_state is h11.IDLE and not over
        if not waiting and self._head_due is not None:
            self._head_due.cancel()
            self._head_due = None
        elif waiting and self._head_due is None:
            self._head_due = self.loop.call_later(self._head_seconds, self._too_slow)

    def _too_slow(self) -> None:
        self._refuse(
            408, f"no request came within {self._head_seconds:g} s: send its head in one piece"
        )

    def _refuse(self, status: int, text: str) -> None:
        """The last answer. What still comes goes nowhere: a reset might overtake the answer."""
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):  # in the midst of an answer
            self.transport.close()
            return
        body = json.dumps({"error": text}).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        head = h11.Response(status_code=status, headers=headers, reason=STATUS_PHRASES[status])
        for event in (head, h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self._end_call()
        self.transport.write_eof()
        self.loop.call_later(LINGER_SECONDS, self.transport.close)
