"""Pybullet, which is optional and talkative."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType

from taskfold.data import MissingExtraError

INSTALL = 'pybullet is not installed: pip install "pybullet==3.2.7"'


def load_pybullet() -> ModuleType:
    """Pybullet, without the line that it prints.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        with _silence():
            return import_module("pybullet")
    except ModuleNotFoundError as error:
        raise MissingExtraError(INSTALL) from error


@contextmanager
def _silence() -> Iterator[None]:
    """Nothing written to file descriptor 2 is seen: C code does not ask Python where to print."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
