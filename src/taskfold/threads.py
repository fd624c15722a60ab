"""How many threads torch works with on a CPU: measured on the work itself, while it is done."""

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
"""A number of threads; `auto`: the fastest, by measurement; None: as torch is set."""

TURN, LONG = 0.05, 1.0
"""Seconds that a number of threads is timed for, at least; and those in which it can be far too slow from the start."""
ROUNDS = 3
"""Turns of each number that is still in the race."""
HOPELESS, SLOWER, LEVEL = 3.0, 1.25, 1.03
"""Times the fastest: more threads are not tried; not timed again; as fast, and the fewest threads win."""
CLEARLY, AT_MOST, ENOUGH = 1.5, 2.5, 4.0
"""What a turn takes beyond 1.5 times the usual, at most 2.5 times it, adds up; at 4 the race is run again."""
SHARE, PAUSE = 0.02, 60.0
"""Of the time, for races that nothing gave cause for; and the fewest seconds between two of them."""


def cores() -> int:
    """Of this machine, those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def parsed(text: str | None) -> Choice:
    """What an option says; None: nothing.

    Raises:
        ValueError: no whole number ≥ 1, and not `auto`.

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
    """The first that is said; or what `OMP_NUM_THREADS` says, which torch has obeyed; or `auto`.

    Example:
        >>> chosen(None, 4), chosen("auto", 4)
        (4, 'auto')
    """
    for one in said:
        if one is not None:
            return one
    return None if os.environ.get("OMP_NUM_THREADS") else "auto"


class Threads:
    """A context in which torch has as many threads as are fastest. Behind it torch has as many as before it.

    The work is done in pieces (steps of a training, batches), and each piece is done once: the first ones with
    different numbers of threads in turn, and all others with the fastest. When pieces become clearly slower for a
    while, the next ones are timed with different numbers again; also every now and then, in 2 % of the time.

    Args:
        choice: see `Choice`. A number is set and kept, and nothing is measured.
        counts: the numbers to choose from, rising; None: 1, 2, 4, … and all cores.
        said: is told of each measurement: `threads`, the fastest; `seconds`, of one row by number of threads; `why`.
        clock: seconds.

    Raises:
        ValueError: the choice is none.

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
        """For work on a device. Off the CPU nothing is measured; processes on one machine get a share of its cores."""
        if choice == "auto" and device.type != "cpu":
            return cls(None)
        if choice == "auto" and processes > 1:  # they wait for one another, so that none can time itself
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
        """Do a piece of work, of so many rows; the time it takes may decide."""
        self._open()
        yield
        self._close(rows)

    @contextmanager
    def over(self, module: nn.Module) -> Iterator[None]:
        """Every call of a module is a piece of work, with the rows of its first tensor."""

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
        """Other work begins: measure again."""
        if self.choice == "auto":
            self._start("start")

    def halfway(self, rows: int = 1) -> None:
        """Within a piece of work: a number of threads that is far too slow so far is not used for the rest of it."""
        if self._race is None:
            return
        elapsed = self.clock() - self._begun
        taken = elapsed / max(1, rows)
        if self._trying != self.count and elapsed > LONG / 3 and taken > HOPELESS * self._half:
            torch.set_num_threads(self.count)
            self._given_up = True
        self._half = min(self._half, taken)

    def _start(self, why: str) -> None:
        """Let the next pieces be a race."""
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
        """Whether it was a number's first piece, in which torch gets ready and which does not count.

        It counts if it took so long that nothing else can be the cause.
        """
        first = self._trying not in self._ready
        self._ready.add(self._trying)
        hopeless = elapsed > LONG and elapsed > HOPELESS * max(1, rows) * self._fastest
        return first and not self._given_up and not hopeless

    def _run(self, race: Generator[int, float, dict[int, float]], taken: float) -> None:
        """A turn of the race has taken so long, for one row."""
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
        """A turn outside of a race has taken so long."""
        self._debt = max(0.0, self._debt + min(elapsed / rows / self._usual - CLEARLY, AT_MOST))
        if self._debt >= ENOUGH:
            self._start("slower")
        elif len(self.counts) > 1 and self.clock() - self._last > max(PAUSE, self._cost / SHARE):
            self._start("again")


def in_words(found: Mapping[str, Any]) -> str:
    """What `Threads` has said of a measurement, in a line.

    Example:
        >>> in_words({"threads": 2, "seconds": {"1": 0.0423, "2": 0.0251}, "why": "slower"})
        '2 threads, measured as work had become slower (1: 42.3, 2: 25.1 ms per row)'
    """
    threads, listed = found["threads"], [f"{count}: {1e3 * one:.3g}" for count, one in found["seconds"].items()]
    why = {"start": "", "slower": " as work had become slower", "again": " again"}[found["why"]]
    return f"{threads} thread{'s' * (threads > 1)}, measured{why} ({', '.join(listed)} ms per row)"


def _race(counts: Sequence[int]) -> Generator[int, float, dict[int, float]]:
    """Yields the number of threads to try next, is sent the seconds that a row took, and returns those of each number.

    More threads than a hopeless number of them are not tried.
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
