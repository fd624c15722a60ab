"""Timing on a machine that does other things too: contestants take turns, and are compared within a turn."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import torch

Step = Callable[[], None]


def wait() -> None:
    """Until the card, if this process uses one, has done what it was asked."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def rounds(steps: Mapping[str, Step], count: int, seconds: float) -> dict[str, list[float]]:
    """Seconds of each step in each round; the order turns by one from round to round.

    Args:
        steps: by name; each runs once before the clock starts.
        count: rounds, at most.
        seconds: no new round starts after so long, but at least three are run.
    """
    names = list(steps)
    for _ in range(2):
        for name in names:
            steps[name]()
    wait()
    taken: dict[str, list[float]] = {name: [] for name in names}
    begin = time.perf_counter()
    for n in range(count):
        if n >= 3 and time.perf_counter() - begin > seconds:
            break
        turn = n % len(names)
        for name in names[turn:] + names[:turn]:
            start = time.perf_counter()
            steps[name]()
            wait()
            taken[name].append(time.perf_counter() - start)
    return taken


def ratios(taken: Mapping[str, list[float]], reference: str) -> dict[str, dict[str, float]]:
    """Median time, and the quartiles of the ratio to the reference in the same round."""
    table: dict[str, dict[str, float]] = {}
    for name, times in taken.items():
        found = [one / other for one, other in zip(times, taken[reference], strict=True)]
        low, middle, high = statistics.quantiles(found, n=4, method="inclusive") if len(found) > 1 else found * 3
        table[name] = {"seconds": statistics.median(times), "ratio": middle, "low": low, "high": high}
    return table
