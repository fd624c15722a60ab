"""Independent work side by side, in several processes of one machine."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Generator, Iterable, Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

import torch

from .threads import Choice, cores

__all__ = ["ProcessLostError", "side_by_side", "worthwhile"]

C = TypeVar("C")
T = TypeVar("T")


class ProcessLostError(RuntimeError):
    """A process has ended before its work."""


def worthwhile(pieces: int, threads: Choice = "auto") -> int:
    """The number of processes for independent pieces of work on a CPU: as many as there are cores for; 1 beside a GPU.

    Args:
        pieces: their number.
        threads: of torch in each process; `auto`: 1; None: torch's setting.

    Example:
        >>> worthwhile(1), worthwhile(8, threads=10_000)
        (1, 1)
    """
    if torch.accelerator.is_available():
        return 1
    each = torch.get_num_threads() if threads is None else 1 if threads == "auto" else threads
    return max(1, min(pieces, cores() // each))


def side_by_side(
    common: C, pieces: Sequence[Callable[[C], Iterable[T]]], processes: int = 1
) -> Generator[tuple[int, T]]:
    """Do pieces of work, and yield what they yield, each with its piece's number.

    With one process the pieces run here, one after another. With more they run in new processes, which share the
    cores as torch's threads; a process that is free takes the next piece, so give the longest first. However this
    ends, with an error or by Ctrl-C too, no process is left; `contextlib.closing` ends it early.

    Args:
        common: given to every piece; a process gets it once.
        pieces: take `common`; what they yield is in order for each piece.
        processes: at least 1. Above 1 `common`, pieces and what they yield must pickle, and a script needs
            `if __name__ == "__main__":`.

    Raises:
        ValueError: processes < 1.
        ProcessLostError: a process was killed.
        Exception: whatever a piece raises.

    Example:
        >>> [*side_by_side(10, [range, lambda common: [common]])][-2:]
        [(0, 9), (1, 10)]
    """
    if processes < 1:
        raise ValueError(f"processes must be ≥ 1, found {processes}")
    if processes == 1:
        for number, piece in enumerate(pieces):
            for one in piece(common):
                yield number, one
        return
    left, workers = list(enumerate(pieces)), dict[Connection, _Worker]()
    try:
        for _ in range(min(processes, len(pieces))):
            worker = _Worker(common, max(1, cores() // processes))
            workers[worker.line] = worker
            worker.give(left.pop(0))
        while workers:
            for line in wait(list(workers)):
                worker = workers[line]  # type: ignore[index]
                ended, found = worker.heard()
                if not ended:
                    yield worker.number, found
                elif isinstance(found, BaseException):
                    raise found
                elif left:
                    worker.give(left.pop(0))
                else:
                    del workers[worker.line]
                    worker.end()
    finally:
        for worker in workers.values():
            worker.end()


class _Worker:
    """A process that does pieces until it is ended."""

    def __init__(self, common: object, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.line, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(target=_work, args=(theirs, threads))
        resource_tracker.ensure_running()  # it would come with the process, and let Ctrl-C through
        # A new process inherits that Ctrl-C is blocked: it ends when this one says so.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        self.line.send(common)

    def give(self, piece: tuple[int, Any]) -> None:
        self.number = piece[0]
        self.line.send(piece[1])

    def heard(self) -> tuple[bool, Any]:
        """Whether the piece has ended, and what it yielded, or its error."""
        try:
            return self.line.recv()
        except (EOFError, ConnectionResetError):
            self.process.join()
            raise ProcessLostError(
                f"the process of piece {self.number + 1} was lost (exit code {self.process.exitcode}; -9 is what a "
                "machine without enough memory does); use fewer processes"
            ) from None

    def end(self) -> None:
        self.process.terminate()
        self.process.join()
        self.line.close()


def _work(line: Connection, threads: int) -> None:
    """Does the pieces that come down the line, after what they have in common."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    try:
        common = line.recv()
        while True:
            piece: Callable[[Any], Iterable[Any]] = line.recv()
            for one in piece(common):
                line.send((False, one))
            line.send((True, None))
    except Exception as error:
        error.add_note(traceback.format_exc())
        line.send((True, _whole(error)))


def _whole(error: Exception) -> Exception:
    """An error that another process can read."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  what this process has just written
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
