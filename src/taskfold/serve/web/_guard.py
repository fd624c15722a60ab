"""Bodies are bounded in bytes and in time before anything reads them; every answer carries the same headers."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .._errors import ServeError, TooLargeError
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


class SlowError(ServeError):
    """The body did not arrive in time."""

    status = 408


class Guard:
    """Refuses a body that says it is too large, or turns out to be, or does not arrive.

    Args:
        app: the application.
        limits: `body` in bytes, `seconds` in all for the body.
    """

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self.app, self.limits = app, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        said = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        try:
            self.limits.check("bytes of the body", int(said), "body")
        except (TooLargeError, ValueError) as error:
            status = error.status if isinstance(error, TooLargeError) else 400
            await JSONResponse({"error": str(error)}, status)(scope, receive, sending)
            return
        await self.app(scope, self._bounded(receive), sending)

    def _bounded(self, receive: Receive) -> Receive:
        found, whole = 0, False
        until = asyncio.get_running_loop().time() + self.limits.seconds

        async def bounded() -> Message:
            nonlocal found, whole
            if whole:  # what comes now is that the client is gone
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
