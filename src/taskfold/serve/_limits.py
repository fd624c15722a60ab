"""Limits of requests, checked before anything of that size is allocated."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from ._errors import TooLargeError


@dataclass(frozen=True)
class Limits:
    """Upper limits. Each is an integer ≥ 1, `seconds` a number > 0.

    Attributes:
        body: bytes of a request.
        pixels: of an image, by its header.
        rows: (input, task) pairs of a request.
        characters: of a text.
        rank: of any integer in a task file's method settings: ranks, widths, experts.
        outputs: of a task's head.
        tasks: served tasks.
        seconds: until the body has arrived, and until the answer is there.

    Raises:
        ValueError: a limit is not such a number.
    """

    body: int = 32_000_000
    pixels: int = 50_000_000
    rows: int = 1024
    characters: int = 20_000
    rank: int = 1024
    outputs: int = 65_536
    tasks: int = 100_000
    seconds: float = 30.0

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            whole = one.name == "seconds" or isinstance(value, int)
            if isinstance(value, bool) or not whole or not 0 < value < math.inf:
                raise ValueError(f"{one.name} must be a number above 0, found {value!r}")

    def check(self, what: str, found: int, limit: str) -> None:
        """Checks that a number is not above a limit.

        Raises:
            TooLargeError: it is.
        """
        if found > (most := getattr(self, limit)):
            raise TooLargeError(f"{what}: found {found:,}, and this server takes at most {most:,} (--max-{limit})")

    def check_header(self, header: Mapping[str, Any]) -> None:
        """Checks by a task file's header that its numbers are within the limits.

        Raises:
            TooLargeError: it does.
        """
        for path, value in _numbers(header["method"], "method"):
            self.check(f"the task file's {path}", value, "rank")
        for path, value in _numbers(header["head"], "head"):
            self.check(f"the task file's {path}", value, "outputs")


def _numbers(value: object, path: str) -> Iterator[tuple[str, int]]:
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield from _numbers(one, f"{path}.{key}")
    elif isinstance(value, list):
        for n, one in enumerate(value):
            yield from _numbers(one, f"{path}[{n}]")
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield path, math.ceil(value) if math.isfinite(value) else 1 << 62
