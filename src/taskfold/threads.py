"""Torch's number of threads on a CPU, chosen by timing the work itself."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Any, Literal

import torch
from torch import Tensor, nn

__all__ = ["Choice", "Threads", "chosen", "cores", "in_words", "parsed"]

Choice = int | Literal["auto"] | None
"""A number of threads; `auto`: the fastest, by measurement; None: Torch's setting."""

TURN, LONG = 0.05, 1.0
"""Least seconds of a turn, which times one number of threads; seconds after which a first piece may be hopeless."""
ROUNDS = 3
"""Turns of each number of threads that is still in the race."""
HOPELESS, SLOWER, LEVEL = 3.0, 1.25, 1.03
"""Multiples of the fastest time: from the first on no more threads are tried; from the second on the number is not
timed again; up to the third the fewest threads win.
"""
CLEARLY, AT_MOST, ENOUGH = 1.5, 2.5, 4.0
"""A turn adds its time over the usual, less 1.5 and at most 2.5, to a sum; at 4 the race is run again."""
SHARE, PAUSE = 0.02, 60.0
"""The share of time for unprompted races; the least seconds between two of them."""


def cores() -> int:
    """The cores of this machine that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def parsed(text: str | None) -> Choice:
    """The value of an option; None: not given.

    Raises:
        ValueError: it is neither an integer ≥ 1 nor `auto`.

    Example:
        >>> parsed("auto"), parsed("4"), parsed(None)
        ('auto', 4, None)
    """
    if text is None or text == "auto":
        return text
    if not text.isdecimal() or not int(text):
        raise ValueError(f"--threads must be a whole number ≥ 1 or auto, found {text!r}")
    return int(text)


def chosen(*said: Choice) -> Choice:
    """The first given choice; else torch's number if `OMP_NUM_THREADS` is set; else `auto`.

    Example:
        >>> chosen(None, 4), chosen("auto", 4)
        (4, 'auto')
    """
    for one in said:
        if one is not None:
            return one
    return None if os.environ.get("OMP_NUM_THREADS") else "auto"


class Threads:
    """A context in which torch uses the fastest number of threads. Its exit restores the number before.

    The work is done in pieces (steps of a training, batches), each once: the first ones with
    different numbers of threads in turn, all others with the fastest. If pieces become clearly slower for a
    while, the next ones are timed with different numbers again; so are some without a cause, in 2 % of the time.

    Args:
        choice: see `Choice`. A number is set and kept, without measurements.
        counts: the numbers to choose from, ascending; None: 1, 2, 4, … and all cores.
        said: called with each measurement: `threads`, the fastest; `seconds` per row by number of threads; `why`.
        clock: returns the time in seconds.

    Raises:
        ValueError: `choice` is invalid.

    Example:
        >>> with Threads("auto", counts=(1,)) as threads:
        ...     with threads.piece(rows=32):
        ...         _ = torch.randn(32, 8) @ torch.randn(8, 8)
        ...     threads.count
        1
    """

    def __init__(
        self,
        choice: Choice,
        counts: Sequence[int] | None = None,
        said: Callable[[dict[str, Any]], None] = lambda found: None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if choice not in (None, "auto") and (isinstance(choice, bool) or not isinstance(choice, int) or choice < 1):
            raise ValueError(f"threads must be a whole number ≥ 1, 'auto' or None, found {choice!r}")
        self.choice, self.said, self.clock = choice, said, clock
        self.counts = tuple(counts or _doubling(cores()))
        self.count = choice if isinstance(choice, int) else torch.get_num_threads()
        self._race: Generator[int, float, dict[int, float]] | None = None
        self._usual = self._debt = self._cost = self._last = 0.0

    @classmethod
    def of(cls, choice: Choice, device: torch.device, processes: int = 1) -> Threads:
        """For work on a device. Only a CPU's threads are measured; processes on one machine share its cores."""
        if choice == "auto" and device.type != "cpu":
            return cls(None)
        if choice == "auto" and processes > 1:  # processes wait for one another, so that none can time itself
            return cls(max(1, cores() // int(os.environ.get("LOCAL_WORLD_SIZE", processes))))
        return cls(choice)

    def __enter__(self) -> Threads:
        self._before = torch.get_num_threads()
        if isinstance(self.choice, int):
            torch.set_num_threads(self.choice)
        elif self.choice == "auto":
            self.restart()
            self.count = self._trying
            torch.set_num_threads(self.count)
        return self

    def __exit__(self, *error: object) -> None:
        torch.set_num_threads(self._before)

    @contextmanager
    def piece(self, rows: int = 1) -> Iterator[None]:
        """Do a piece of work with this many rows; its time may count in a measurement."""
        self._open()
        yield
        self._close(rows)

    @contextmanager
    def over(self, module: nn.Module) -> Iterator[None]:
        """Make every call of a module a piece of work, with the rows of its first tensor."""

        def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            self._open()

        def after(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            tensors = (one for one in (*args, *kwargs.values()) if isinstance(one, Tensor) and one.dim())
            self._close(len(next(tensors, (1,))))

        handles = (
            module.register_forward_pre_hook(before, with_kwargs=True),
            module.register_forward_hook(after, with_kwargs=True, always_call=True),
        )
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def restart(self) -> None:
        """Measure again, since other work begins."""
        if self.choice == "auto":
            self._start("start")

    def halfway(self, rows: int = 1) -> None:
        """Within a piece of work: switch to the fastest known number of threads if the tried one is far too slow."""
        if self._race is None:
            return
        elapsed = self.clock() - self._begun
        taken = elapsed / max(1, rows)
        if self._trying != self.count and elapsed > LONG / 3 and taken > HOPELESS * self._half:
            torch.set_num_threads(self.count)
            self._given_up = True
        self._half = min(self._half, taken)

    def _start(self, why: str) -> None:
        """Starts a race with the next pieces."""
        self._race, self._why, self._debt = _race(self.counts), why, 0.0
        self._trying = next(self._race)
        self._half = self._fastest = math.inf
        self._elapsed, self._rows, self._given_up = 0.0, 0, False
        self._spent: list[tuple[float, int]] = []
        self._ready: set[int] = set()

    def _open(self) -> None:
        if self.choice == "auto":
            torch.set_num_threads(self._trying)
            self._begun = self.clock()

    def _close(self, rows: int) -> None:
        if self.choice != "auto":
            return
        elapsed = self.clock() - self._begun
        if self._race is not None and self._is_first(elapsed, rows):
            self._spent.append((elapsed, rows))
            torch.set_num_threads(self.count)
            return
        self._elapsed += elapsed
        self._rows += rows
        if self._elapsed >= TURN or self._given_up:
            turn, given_up = (self._elapsed, max(1, self._rows)), self._given_up
            self._elapsed, self._rows, self._given_up = 0.0, 0, False
            if self._race is None:
                self._watch(*turn)
            else:
                self._spent.append(turn)
                self._run(self._race, math.inf if given_up else turn[0] / turn[1])
        torch.set_num_threads(self.count)

    def _is_first(self, elapsed: float, rows: int) -> bool:
        """Whether it was a number's first piece, in which torch starts its threads and which does not count.

        It counts if it took so long that only the number can be the cause.
        """
        first = self._trying not in self._ready
        self._ready.add(self._trying)
        hopeless = elapsed > LONG and elapsed > HOPELESS * max(1, rows) * self._fastest
        return first and not self._given_up and not hopeless

    def _run(self, race: Generator[int, float, dict[int, float]], taken: float) -> None:
        """Handles a turn of the race, with its seconds per row."""
        if taken < self._fastest:
            self.count, self._fastest = self._trying, taken
        try:
            self._trying = race.send(taken)
        except StopIteration as end:
            seconds: dict[int, float] = end.value
            least = min(seconds.values())
            self.count = self._trying = min(count for count, one in seconds.items() if one <= LEVEL * least)
            self._race, self._usual, self._last = None, seconds[self.count], self.clock()
            self._cost = sum(max(0.0, elapsed - rows * self._usual) for elapsed, rows in self._spent)
            listed = {str(count): one for count, one in seconds.items()}
            self.said({"threads": self.count, "seconds": listed, "why": self._why})

    def _watch(self, elapsed: float, rows: int) -> None:
        """Handles a turn outside of a race."""
        self._debt = max(0.0, self._debt + min(elapsed / rows / self._usual - CLEARLY, AT_MOST))
        if self._debt >= ENOUGH:
            self._start("slower")
        elif len(self.counts) > 1 and self.clock() - self._last > max(PAUSE, self._cost / SHARE):
            self._start("again")


def in_words(found: Mapping[str, Any]) -> str:
    """A measurement of `Threads` in words.

    Example:
        >>> in_words({"threads": 2, "seconds": {"1": 0.0423, "2": 0.0251}, "why": "slower"})
        '2 threads, measured as work had become slower (1: 42.3, 2: 25.1 ms per row)'
    """
    threads, listed = found["threads"], [f"{count}: {1e3 * one:.3g}" for count, one in found["seconds"].items()]
    why = {"start": "", "slower": " as work had become slower", "again": " again"}[found["why"]]
    return f"{threads} thread{'s' * (threads > 1)}, measured{why} ({', '.join(listed)} ms per row)"


def _race(counts: Sequence[int]) -> Generator[int, float, dict[int, float]]:
    """Yields the next number of threads to try, receives its seconds per row, and returns those of all numbers.

    Numbers above a hopeless one are not tried.
    """
    times = dict[int, list[float]]()
    for count in counts:
        taken = yield count
        if times and taken > HOPELESS * min(one for [one] in times.values()):
            break
        times[count] = [taken]
    typical = {count: one for count, [one] in times.items()}
    alive = list(typical)
    for _ in range(ROUNDS - 1):
        least = min(typical[count] for count in alive)
        alive = [count for count in alive if typical[count] <= SLOWER * least]
        for count in alive if len(alive) > 1 else ():
            times[count].append((yield count))
            typical[count] = median(times[count])
    return typical


def _doubling(most: int) -> Iterator[int]:
    count = 1
    while count < most:
        yield count
        count *= 2
    yield most
