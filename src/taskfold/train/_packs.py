"""Packs: trainings side by side in one process, whose steps share passes, with one checkpoint file for all."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..refusals import RefusalError
from ..threads import Threads
from . import _checkpoint
from ._job import Job
from ._loop import Loop
from ._mixed import do_all
from ._progress import Bar
from ._run import opened, tell_tasks
from ._state import Result
from ._steps import Step

FILES = "pack*.safetensors"
Kept = tuple[dict[str, Any], dict[str, Any]]
"""The identity in a checkpoint, and its state."""


@dataclass(eq=False)
class Flight:
    """A running training.

    Attributes:
        name: the task's name.
        loop: its training loop.
        steps: its steps, then None before the end.
        resumed: it resumed from a checkpoint.
        step: the next step; None: none is left.
    """

    name: str
    loop: Loop
    steps: Generator[Step | None]
    resumed: bool
    step: Step | None = None


@dataclass
class Pack:
    """Trainings side by side.

    Args:
        jobs: the trainings by task, in order, each with a function for the identity that a resumed run must match.
        rows: the most samples in a pass; a training whose batch alone is larger passes by itself.
        folder: holds a folder for each task, of its name; None: nothing is kept.
        file: the name of the file of running trainings, in the folder.
        fresh: delete earlier runs.
        threads: controls Torch's threads.
        network: returns the backbone's identity.
        finished: called for each task when its weights are final.
        every: the least number of seconds between checkpoints.

    Attributes:
        errors: the errors of failed trainings; the others continued.
        flights: the running trainings.
        kept: the states of trainings to resume.
    """

    jobs: Mapping[str, tuple[Job, Callable[[], dict[str, Any]]]]
    rows: int
    folder: Path | None
    file: str
    fresh: bool
    threads: Threads
    network: Callable[[], dict[str, Any]]
    finished: Callable[[str, Result], None]
    every: float
    errors: dict[str, Exception] = field(default_factory=dict)
    flights: list[Flight] = field(default_factory=list)
    kept: dict[str, Kept] = field(default_factory=dict)

    def run(self) -> None:
        """Train all tasks to their ends, as many at once as fit in a pass."""
        if self.folder is not None:
            self.kept = self._read(self.folder)
        before = [name for name in self.kept if name in self.jobs]
        waiting = [*before, *(name for name in self.jobs if name not in self.kept)]
        saved = time.monotonic()
        with ExitStack() as stack:
            while waiting or self.flights:
                while waiting and self._has_room(waiting[0]):
                    self._start(waiting.pop(0), stack)
                self._tick()
                ended = [one for one in self.flights if one.step is None]
                if ended or time.monotonic() - saved >= self.every:
                    self._write()  # before a training ends, so that the others resume from one moment
                    saved = time.monotonic()
                for one in ended:
                    self._land(one)
        self._write()

    def _has_room(self, name: str) -> bool:
        sizes = [self.jobs[other][0].settings.batch_size for other in (name, *(one.name for one in self.flights))]
        return not self.flights or sum(sizes) <= self.rows

    def _start(self, name: str, stack: ExitStack) -> None:
        job, identity = self.jobs[name]
        try:
            folder = opened(job, identity, self.folder and self.folder / name, self.fresh, self.network)
            loop, before = Loop(job, folder, self.threads), folder.load()
            if name in self.kept and (before is None or _ahead(self.kept[name][1], before)):
                there, before = self.kept[name]
                _checkpoint.check_same(Path(self.file), there, folder.identity)
            if before is not None:
                loop.load(before)
            one = Flight(name, loop, loop.steps(Bar(name, 1, 1, quiet=True)), before is not None)
            if not loop.state.done:
                stack.callback(one.steps.close)
                stack.enter_context(job.moves.holding())
                one.step = next(one.steps)
        except (ValueError, RefusalError) as error:
            self.errors[name] = error
            return
        self.kept.pop(name, None)
        if loop.state.done:
            self._told(one)
            return
        self.flights.append(one)
        if one.step is None:  # it was killed between its last step and its end
            self._land(one)

    def _tick(self) -> None:
        """Does a step of every training."""
        failed = do_all([one.step for one in self.flights if one.step is not None])
        for one in [*self.flights]:
            try:
                if one.step in failed:
                    raise failed[one.step]
                one.step = next(one.steps)
            except (ValueError, RefusalError) as error:
                self._drop(one, error)

    def _land(self, one: Flight) -> None:
        """Finishes a training without steps left."""
        try:
            next(one.steps, None)
        except (ValueError, RefusalError) as error:
            self._drop(one, error)
            return
        self.flights.remove(one)
        self._told(one)

    def _drop(self, one: Flight, error: Exception) -> None:
        one.steps.close()
        self.flights.remove(one)
        self.errors[one.name] = error

    def _told(self, one: Flight) -> None:
        one.loop.job.model.train(False)
        tell_tasks(one.loop)
        self.finished(one.name, one.loop.state.result(one.resumed))

    def _write(self) -> None:
        """Writes the state of running and of waiting resumed trainings to the file; without any, deletes it."""
        if self.folder is None:
            return
        there = self.kept | {one.name: (one.loop.folder.identity, one.loop.kept()) for one in self.flights}
        if there:
            who = {name: identity for name, (identity, _) in there.items()}
            _checkpoint.save(self.folder / self.file, who, {name: kept for name, (_, kept) in there.items()})
        else:
            (self.folder / self.file).unlink(missing_ok=True)

    def _read(self, folder: Path) -> dict[str, Kept]:
        """The furthest state of each task in the files of packs, except of tasks to train afresh."""
        found: dict[str, Kept] = {}
        for path in sorted(folder.glob(FILES), key=lambda path: path.name != self.file):
            who, states = _checkpoint.read(path)
            for name, kept in states.items():
                if path.name != self.file and name not in self.jobs:
                    continue  # of another process
                if name not in found or _ahead(kept, found[name][1]):
                    found[name] = who[name], kept
        return {name: one for name, one in found.items() if not (self.fresh and name in self.jobs)}


def _ahead(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether `one` is further than `other`; nothing is further than a finished training."""
    return not other["state"]["done"] and one["state"]["step"] > other["state"]["step"]
