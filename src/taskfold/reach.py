"""Access to Hugging Face's hub without a network, where its clients would retry for a minute and a half."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies

SECONDS = 1.0
"""The most seconds until the hub, or its proxy, accepts a connection, unless `HF_HUB_ETAG_TIMEOUT` is set."""

_alone = False


def why(error: Exception) -> str:
    """Why the hub has not answered: there is no connection, or the first line of the error."""
    if _alone:
        return f"nobody answers at {_server().hostname} within {_seconds():g} s, and there is no copy in the cache"
    return str(error).strip().partition("\n")[0] or type(error).__name__


@contextmanager
def at_once() -> Iterator[None]:
    """Run a block that uses the hub; without a connection its clients read their caches only, and say so."""
    switches = [
        (module, name)
        for module, name in ((_hub(), "HF_HUB_OFFLINE"), (sys.modules.get("datasets.config"), "HF_HUB_OFFLINE"))
        if module is not None and not getattr(module, name)
    ]
    if not switches or reachable():
        yield
        return
    global _alone  # noqa: PLW0603  as are the switches of the clients
    for module, name in switches:
        setattr(module, name, True)
    _alone = True
    try:
        yield
    finally:
        _alone = False
        for module, name in switches:
            setattr(module, name, False)


def _hub() -> object | None:
    return import_module("huggingface_hub.constants") if find_spec("huggingface_hub") else None


def reachable(url: str | None = None) -> bool:
    """Whether a server accepts a connection in time.

    Args:
        url: the server; None: the proxy in the environment, or else the hub (`HF_ENDPOINT`).

    Example:
        >>> reachable("http://127.0.0.1:9")  # nobody
        False
    """
    place = _server() if url is None else urlsplit(url)
    found: list[bool] = []
    seconds = _seconds()

    def attempt() -> None:
        try:
            with socket.create_connection((place.hostname, place.port or 443), timeout=seconds):
                found.append(True)
        except OSError:
            found.append(False)

    # In a thread, since looking a name up has no time limit.
    asking = threading.Thread(target=attempt, daemon=True)
    asking.start()
    asking.join(seconds)
    return found == [True]


def _seconds() -> float:
    try:
        return float(os.environ.get("HF_HUB_ETAG_TIMEOUT", SECONDS))
    except ValueError:
        return SECONDS


def _server() -> SplitResult:
    proxies = getproxies()
    hub = os.environ.get("HF_ENDPOINT") or getattr(_hub(), "ENDPOINT", "")
    return urlsplit(proxies.get("https") or proxies.get("all") or hub)
