"""How a server changes: one change at a time, and to the end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from ._errors import DiskError

LOG = logging.getLogger("taskfold.serve")


class _Changing(Protocol):
    changing: asyncio.Lock


S = TypeVar("S", bound=_Changing)
P = ParamSpec("P")
T = TypeVar("T")
Change = Callable[Concatenate[S, P], Awaitable[T]]


def whole(change: Change[S, P, T]) -> Change[S, P, T]:
    """Makes changes of a server run one at a time, and to the end even if the caller is cancelled.

    What the operating system refuses (a full disk, a folder that is gone) is a `DiskError`.
    """

    @wraps(change)
    async def shielded(self: S, *args: P.args, **kwargs: P.kwargs) -> T:
        async def locked() -> T:
            async with self.changing:
                try:
                    return await change(self, *args, **kwargs)
                except OSError as error:
                    LOG.error("the disk refuses a change: %s", error)
                    why = error.strerror or type(error).__name__
                    raise DiskError(
                        f"the disk refuses this change: {why}; ask again when it has been mended"
                    ) from error

        return await asyncio.shield(asyncio.ensure_future(locked()))

    return shielded
