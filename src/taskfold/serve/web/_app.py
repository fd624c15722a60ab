"""The HTTP application's routes, and the form of errors."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from ... import __version__
from .._errors import BusyError, FailedError, InputError, ServeError
from .._server import TaskServer
from . import _inference, _manage, _predict
from ._gone import GoneError
from ._guard import Guard
from ._metrics import Measured, Numbers

PAGE = {
    "/": ("page.html", "text/html"),
    "/page.js": ("page.js", "text/javascript"),
    "/page.css": ("page.css", "text/css"),
}
LOG = logging.getLogger("taskfold.serve")
EVERY = 2.0
"""Seconds between two reads of the store."""


@dataclass(frozen=True)
class Access:
    """Access rules.

    Attributes:
        token: clients with it may change tasks; None: no client may.
        hosts: names by which clients call the server; `*`: any. Others are refused, so that a web page elsewhere whose
            name resolves to this machine cannot call it.
    """

    token: str | None = None
    hosts: Sequence[str] = ("localhost", "127.0.0.1", "::1", "[::1]")


def application(server: TaskServer, access: Access | None = None) -> FastAPI:
    """An ASGI application of a server, which it starts and stops, and which follows its store.

    Args:
        server: not started yet.
        access: default: no client may change tasks, and clients are on this machine.
    """
    access, registry = access or Access(), CollectorRegistry()
    registry.register(Numbers(server))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        del app
        async with server:
            following = asyncio.create_task(_follow(server))
            try:
                yield
            finally:
                following.cancel()
                with suppress(asyncio.CancelledError):
                    await following

    app = FastAPI(title="Taskfold", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.router.redirect_slashes = False  # clients that do not follow would take the redirection of a change for success
    for routes in (_predict.router(server), _manage.router(server, access.token), _inference.router(server)):
        app.include_router(routes, dependencies=[Depends(_known)])
    _health(app, server, registry)
    app.state.server = server
    for path, (name, kind) in PAGE.items():
        _static(app, path, files(__spec__.parent).joinpath(name).read_bytes(), kind)
    app.add_exception_handler(ServeError, _refused)
    app.add_exception_handler(ClientDisconnect, _left)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _unread)
    app.add_exception_handler(Exception, _failed)
    app.add_middleware(Guard, limits=server.limits, hosts=access.hosts)
    app.add_middleware(Measured, registry=registry)
    return app


def _health(app: FastAPI, server: TaskServer, registry: CollectorRegistry) -> None:
    seen: deque[tuple[float, int]] = deque(maxlen=64)

    @app.get("/healthz", tags=["health"])
    async def health() -> dict[str, Any]:
        """The process answers."""
        return {"status": "ok", "version": __version__}

    @app.get("/readyz", tags=["health"])
    async def ready(response: Response) -> dict[str, Any]:
        """Tasks are loaded and batches run; 503 before. `problems` are files of the store that are not served."""
        response.status_code = 200 if server.ready else 503
        return {"ready": server.ready, "tasks": len(server.versions), "problems": server.problems[:100]}

    @app.get("/metrics", tags=["health"])
    async def metrics() -> Response:
        """Metrics for Prometheus."""
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/stats", tags=["health"])
    async def stats() -> dict[str, Any]:
        """The page's numbers: recent rows per second, waiting rows, the mean batch."""
        batcher, counts, now = server.batcher, server.batcher.counts, time.monotonic()
        while seen and now - seen[0][0] > 5:
            seen.popleft()
        seen.append((now, counts.rows))
        (since, rows), mean = seen[0], counts.rows / max(counts.batches, 1)
        pace = (counts.rows - rows) / (now - since) if now > since else 0.0
        return {
            "tasks": len(server.versions),
            "rows": counts.rows,
            "rows_per_second": round(pace, 1),
            "waiting": batcher.waiting,
            "rows_per_batch": round(mean, 2),
        }


async def _known(request: Request) -> None:
    """Refuses keys in the URL that the route does not read, or reads once and gets twice."""
    route = request.scope["route"]
    once = {param.alias for param in route.dependant.query_params}
    known = [*once, *(param["name"] for param in (route.openapi_extra or {}).get("parameters", ()))]
    for key in (keys := request.query_params):
        if key not in known:
            raise InputError(f"{key!r:.60} in the URL is not known here; known: {', '.join(sorted(known)) or 'none'}")
        if key in once and len(keys.getlist(key)) > 1:
            raise InputError(f"{key} in the URL is given twice; give it once")


async def _follow(server: TaskServer) -> None:
    while True:
        try:
            await server.follow()
        except (OSError, ServeError) as error:  # the folder is unreachable for a moment
            LOG.warning("%s", error)
            server.followed = False
        await asyncio.sleep(EVERY)


def _static(app: FastAPI, path: str, content: bytes, kind: str) -> None:
    @app.get(path, include_in_schema=False)
    async def static() -> Response:
        return Response(content, media_type=kind)


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ServeError)
    if isinstance(error, FailedError):
        LOG.error("%s %s: %s", request.method, request.url.path, error)
    headers = {"retry-after": str(error.retry_after)} if isinstance(error, BusyError) else {}
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    return JSONResponse({"error": str(error)}, error.status, headers)


async def _left(request: Request, error: Exception) -> Response:
    """An empty response for a client that went away before its body had come."""
    del request, error
    return Response(status_code=GoneError.status)


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    said, headers, path = str(error.detail), dict(error.headers or {}), f"{request.url.path!r:.120}"
    if error.status_code == 404:
        said = f"there is nothing at {path}; /openapi.json says what there is"
    elif error.status_code == 405:
        said = f"{request.method} is not for {path}; /openapi.json says what is"
        headers = {}
    return JSONResponse({"error": said}, error.status_code, headers)


async def _unread(request: Request, error: Exception) -> JSONResponse:
    del request
    assert isinstance(error, RequestValidationError)
    said = [f"{one['loc'][-1]}: {one['msg']}, found {one['input']!r:.60}" for one in error.errors()]
    return JSONResponse({"error": "; ".join(said)}, 400)


async def _failed(request: Request, error: Exception) -> JSONResponse:
    LOG.error("%s %s", request.method, request.url.path, exc_info=error)
    return JSONResponse({"error": f"the server failed at this request: {type(error).__name__}"}, 500)
