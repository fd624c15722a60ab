"""Connections that no client can hold for nothing: those on which no whole request head arrives, or nothing is read."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import suppress

import h11
from starlette.responses import JSONResponse
from uvicorn.protocols.http.h11_impl import H11Protocol

SECONDS = 10.0
"""Seconds in which the head of a request must arrive, and in which a client must read something of an answer."""
CONNECTIONS = 1024
"""The most connections; a request on a further one is refused."""
FULL = f"the server has {CONNECTIONS} connections, and takes no more; ask again in 1 s"
INVALID = "this is no HTTP request: its head or body breaks the rules of HTTP/1.1, or the head has more than 64 kB"


class Patient(H11Protocol):
    """uvicorn's connection, which closes when a client neither sends nor reads for `SECONDS`."""

    _late: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Starts the time limit of a head."""
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS:
            self.app = JSONResponse({"error": FULL}, 503, {"retry-after": "1", "connection": "close"})
        transport.set_write_buffer_limits(high=0)  # `pause_writing` comes whenever the client leaves bytes unread
        with suppress(OSError):  # not a TCP socket
            # A body would wait 40 ms for the head's acknowledgement; asyncio sets this for sockets that it opens alone.
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends the time limits."""
        self._wait_no_more()
        super().connection_lost(exc)
        self.resume_writing()

    def data_received(self, data: bytes) -> None:
        """Keeps the time limit of a head that has begun, whatever arrives meanwhile."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._wait_no_more()
        elif self._late is None:
            self._wait()

    def pause_writing(self) -> None:
        """Starts the time limit of a client that does not read."""
        super().pause_writing()
        left = self.transport.get_write_buffer_size()
        self._unread = self.loop.call_later(SECONDS, self._still_unread, left)

    def resume_writing(self) -> None:
        """Ends that time limit."""
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def send_400_response(self, msg: str) -> None:
        """Refuses what is no HTTP as everything else is refused."""
        del msg
        body = json.dumps({"error": INVALID}).encode()
        headers = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close"}
        head = h11.Response(status_code=400, headers=[*headers.items()], reason=b"Bad Request")
        for event in (head, h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _still_unread(self, before: int) -> None:
        if (left := self.transport.get_write_buffer_size()) >= before:
            self.transport.abort()
        else:
            self._unread = self.loop.call_later(SECONDS, self._still_unread, left)

    def _wait(self) -> None:
        self._late = self.loop.call_later(SECONDS, self._close)

    def _wait_no_more(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _close(self) -> None:
        self._late = None
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()
