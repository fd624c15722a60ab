"""`/tasks`: the served tasks and, with a token, changes."""

from __future__ import annotations

import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from .._errors import InputError, ServeError
from .._server import TaskServer
from .._version import Version
from ._predict import FILE, TEXT, body, fields, parsed

BEARER = HTTPBearer(auto_error=False, description="The token of `taskfold serve`.")


class DeniedError(ServeError):
    """The token is missing or wrong."""

    status = 401


class ForbiddenError(ServeError):
    """No client may change tasks on this server."""

    status = 403


class Manager:
    """Admits requests with the token."""

    def __init__(self, token: str | None) -> None:
        self.token = token

    async def admit(self, given: Annotated[HTTPAuthorizationCredentials | None, Depends(BEARER)]) -> None:
        if self.token is None:
            raise ForbiddenError("this server was started without management: its tasks cannot be changed by requests")
        if given is None or not secrets.compare_digest(given.credentials.encode(), self.token.encode()):
            raise DeniedError("changing tasks needs the server's token: Authorization: Bearer TOKEN")


def router(server: TaskServer, token: str | None) -> APIRouter:
    """The routes."""
    found = APIRouter(prefix="/tasks", tags=["tasks"])
    manager = Manager(token)

    @found.get("")
    async def tasks(
        search: str = "", limit: Annotated[int, Query(ge=1, le=1000)] = 100, offset: Annotated[int, Query(ge=0)] = 0
    ) -> dict[str, Any]:
        """Tasks by name, those whose name contains `search`, `limit` at a time."""
        wanted = search.casefold()
        every = await server.every()
        names = sorted(name for name in every if wanted in name.casefold())
        shown = [_short(every[name]) for name in names[offset : offset + limit]]
        return {"tasks": shown, "found": len(names), "served": len(every)}

    @found.get("/{name}")
    async def task(name: str) -> dict[str, Any]:
        """The details of a task."""
        version = await server.find(name)
        return {
            **_short(version),
            "labels": list(version.info.labels),
            "metrics": version.info.metrics,
            "preprocessing": version.info.preprocessing,
            "counts": version.counts,
            "resident": version.held.present,
            "pinned": version.held.pinned,
        }

    @found.get("/{name}/versions")
    async def versions(name: str) -> dict[str, Any]:
        """The store's versions of a task, oldest first; also of a removed task."""
        found = await server.history(name)
        return {
            "versions": [{"digest": one.digest, "published": one.published, "current": one.current} for one in found]
        }

    @found.put("/{name}", dependencies=[Depends(manager.admit)], openapi_extra=FILE_BODY, status_code=200)
    async def put(name: str, request: Request, response: Response) -> dict[str, Any]:
        """Serve a task file, the body, under this name; with `If-None-Match: *` only if the name is free."""
        known, condition = name in server.versions, request.headers.get("if-none-match")
        if condition not in (None, "*") or "if-match" in request.headers:
            raise InputError("the one condition that is known here is If-None-Match: *")
        made = await server.put(name, await request.body(), new=condition == "*")
        response.status_code = 200 if known else 201
        return _short(made)

    @found.delete("/{name}", dependencies=[Depends(manager.admit)])
    async def remove(name: str, purge: bool = False) -> dict[str, Any]:
        """Stop serving a task; with `purge` the store deletes its versions too."""
        await server.remove(name, purge=purge)
        return {"removed": name}

    @found.post("/{name}/rename", dependencies=[Depends(manager.admit)], openapi_extra=NAME_BODY)
    async def rename(name: str, request: Request) -> dict[str, Any]:
        """Give a task another name: `{"name": "new"}`."""
        new = parsed(await request.body()).get("name")
        if not isinstance(new, str):
            raise InputError(f'the body must say {{"name": "the new name"}}, found name {new!r:.60}')
        return _short(await server.rename(name, new))

    @found.post("/{name}/rollback", dependencies=[Depends(manager.admit)])
    async def rollback(name: str, to: str | None = None) -> dict[str, Any]:
        """Serve an earlier version: the one before, or the one whose digest begins with `to`."""
        return _short(await server.rollback(name, to))

    return found


def _short(version: Version) -> dict[str, Any]:
    return {
        "name": version.name,
        "digest": version.digest,
        "generation": version.generation,
        "takes": version.reading.takes,
        "method": version.method,
        "outputs": len(version.info.labels) or None,
        "bytes": version.nbytes,
    }


FILE_BODY, NAME_BODY = body({"application/octet-stream": FILE}), body({"application/json": fields(name=TEXT)})
