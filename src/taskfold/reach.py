"""Hugging Face's hub, where there may be no network: its clients would try again for a minute and a half."""

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
"""How long it may take until the hub, or the proxy before it, accepts a connection; `HF_HUB_ETAG_TIMEOUT` says more."""

_alone = False


def why(error: Exception) -> str:
    """Why the hub has not given something: nobody answers, or the first line of the error."""
    if _alone:
        return f"nobody answers at {_server().hostname} within {_seconds():g} s, and there is no copy in the cache"
    return str(error).strip().partition("\n")[0] or type(error).__name__


@contextmanager
def at_once() -> Iterator[None]:
    """Run a block that asks the hub; where nobody answers, its clients look into their caches alone, and say so."""
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
    """Whether somebody accepts a connection there in time.

    Args:
        url: of a server; None: the proxy that the environment names, or else the hub (`HF_ENDPOINT`).

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

    # In a thread: to look a name up has no time limit of its own.
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
