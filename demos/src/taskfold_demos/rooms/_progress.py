"""A progress bar: how many, how fast, how long still."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")


def counted(items: Iterable[T], total: int, label: str, quiet: bool | None) -> Iterator[T]:
    """The items, counted as they pass; silent if `quiet`, by default when the output is no terminal."""
    silent = not sys.stdout.isatty() if quiet is None else quiet
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]} images/s"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, disable=silent) as progress:
        bar = progress.add_task(label, total=total, rate="…")
        start = time.monotonic()
        for done, item in enumerate(items, 1):
            rate = done / max(time.monotonic() - start, 1e-9)
            progress.update(bar, completed=done, rate=f"{rate:.1f}")
            yield item
