"""Limits the bytes and the time of bodies before they are read, and sets the headers of every answer."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .._errors import InputError, ServeError
from .._limits import Limits

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


PORT = re.compile(r":\d*$")


class SlowError(ServeError):
    """The body did not arrive in time."""

    status = 408


class CodingError(ServeError):
    """The body is compressed."""

    status = 415


class Guard:
    """Refuses bodies that are declared or found too large or do not arrive, what could be read in two ways, and other
    hosts' names.

    Args:
        app: the application.
        limits: `body` in bytes, `seconds` for the whole body.
        hosts: names by which clients may call the server; `*`: any.
    """

    def __init__(self, app: ASGIApp, limits: Limits, hosts: Sequence[str]) -> None:
        self.app, self.limits, self.hosts = app, limits, frozenset(map(str.lower, hosts))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            self._check(scope, Headers(scope=scope))
        except (ServeError, ValueError) as error:
            status = error.status if isinstance(error, ServeError) else 400
            await JSONResponse({"error": str(error)}, status)(scope, receive, sending)
            return
        if scope["method"] == "HEAD":  # as for GET; the server below drops the body
            scope = {**scope, "method": "GET"}
        await self.app(scope, self._bounded(receive), sending)

    def _check(self, scope: Scope, headers: Headers) -> None:
        host = PORT.sub("", headers.get("host", "")).lower()
        if "*" not in self.hosts and host not in self.hosts:
            raise InputError(f"host {host!r:.100} is not this server's name; start it with --hostname {host:.100}")
        if b"%2f" in scope.get("raw_path", b"").lower():
            raise InputError("the path has %2F, a slash in a name; no task's name has one")
        if (coding := headers.get("content-encoding", "identity").strip().lower()) != "identity":
            raise CodingError(f"bodies are read as they are; send this one without content-encoding {coding!r:.40}")
        if {"content-length", "transfer-encoding"} <= {*headers}:
            raise InputError("the request says both content-length and transfer-encoding; give one of them")
        self.limits.check("bytes of the body", int(headers.get("content-length", 0)), "body")

    def _bounded(self, receive: Receive) -> Receive:
        found, whole = 0, False
        until = asyncio.get_running_loop().time() + self.limits.seconds

        async def bounded() -> Message:
            nonlocal found, whole
            if whole:  # only a disconnection can follow
                return await receive()
            try:
                async with asyncio.timeout_at(until):
                    message: dict[str, Any] = dict(await receive())
            except TimeoutError:
                raise SlowError(f"the body did not arrive within {self.limits.seconds:g} s") from None
            found += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            self.limits.check("bytes of the body", found, "body")
            return message

        return bounded
