"""Detects networks that cache what they compute from layers' tensors, since another task would get the cache."""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from ..layers import (
    PLAIN,
    Calls,
    OfTasks,
    Outlasting,
    Selection,
    in_vmap,
    is_kept,
    kept_of,
    selecting,
    sites_of,
    states_as_before,
    telling,
)
from ..refusals import StateError
from ._outputs import rows_of
from ._prompts import prompts
from ._rows import Batch

TRIES = 3
"""Most attempts to run the plain network beside a pass."""


class Reads:
    """The layers' tensors that are read, by pass."""

    def __init__(self) -> None:
        self.passes: list[tuple[Selection, set[tuple[str, str]]]] = []

    def knows(self, path: str, name: str) -> bool:
        return False

    def reads(self, path: str, name: str, now: Selection) -> None:
        for one, read in self.passes:
            if one is now:
                read.add((path, name))
                return
        self.passes.append((now, {(path, name)}))

    def kept(self) -> dict[tuple[str, str], bool]:
        """For each read tensor, whether only one of the passes of all rows read it: the others used a cache."""
        sizes = [0 if now.noting is None else now.noting.rows for now, _ in self.passes]
        every = [one for (_, read), rows in zip(self.passes, sizes, strict=True) if rows == max(sizes) for one in read]
        return {one: every.count(one) == 1 for one in every}


class Kept:
    """The findings about a network's caches of layers' tensors.

    Attributes:
        known: by mode, the layers' tensors that were checked.
        refused: by path, why tasks can't change a layer: the network caches what it computes from it, or computes with
            other tensors.
        called: modes in which the calls of layers were checked.
        asked: path and name of tensors that the network has read as attributes of layers.
        outside: the network keeps tensors where no module has them, and answers with them.
        goes_on: answers depend on what the last pass has left.
    """

    def __init__(self) -> None:
        self.known: dict[bool, set[tuple[str, str]]] = {True: set(), False: set()}
        self.refused: dict[str, str] = {}
        self.tried: dict[object, int] = {}
        self.called: set[bool] = set()
        self.asked: set[tuple[str, str]] = set()
        self.outside = self.goes_on = False

    def check(self, paths: Collection[str]) -> None:
        """Checks that tasks can change these layers.

        Raises:
            ValueError: a layer is refused.
            StateError: the network keeps tensors outside of its modules.
        """
        if self.outside and paths:
            raise StateError(
                "the network keeps tensors from one pass to the next in a global variable, a class, a closure or an "
                "object of a method, and would answer other tasks with them; keep them in an attribute of a module"
            )
        for path, why in self.refused.items():
            if path in paths:
                raise ValueError(why)

    def _keeps(self, path: str, what: str) -> None:
        self.refused.setdefault(
            path,
            f"the network keeps {what} of layer {path!r}, and would answer other tasks with it; leave the layer out "
            f"with targets=('*', '!{path}'), or switch off what keeps it before the model is made",
        )

    def calls(self, training: bool, once: Collection[str], calls: Calls) -> None:
        """Records the calls of layers in repeated passes of a batch; `once`: paths that the first called more often."""
        self.called.add(training)
        for path in once:
            self._keeps(path, "the output")
        for path in calls.exchanged:
            self.refused.setdefault(
                path,
                f"the network calls layer {path!r} with other parameters than the layer's "
                "(torch.func.functional_call), which no task changes; leave the layer out with "
                f"targets=('*', '!{path}')",
            )
        for path, name in calls.taken.items():
            self.refused.setdefault(
                path,
                f"the network computes with {name!r} of layer {path!r} without asking the layer for it (by a list, "
                f"parameters() or state_dict()), where no task changes it; read the layer's attribute {name!r}, or "
                f"leave the layer out with targets=('*', '!{path}')",
            )

    @contextmanager
    def looking(self, training: bool) -> Iterator[Reads]:
        """Run a block in which the plain network runs several times, and record its reads."""
        reads = Reads()
        with telling(reads), generators():
            yield reads
        for (path, name), kept in reads.kept().items():
            self.known[training].add((path, name))
            if kept:
                self._keeps(path, f"what it has computed of the {name!r}")


@contextmanager
def generators() -> Iterator[None]:
    """Run a block and restore the random states of Python, NumPy and torch."""
    numpy = sys.modules.get("numpy")
    before = random.getstate(), None if numpy is None else numpy.random.get_state()
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        random.setstate(before[0])
        if numpy is not None:
            numpy.random.set_state(before[1])


@contextmanager
def own_state(network: nn.Module) -> Iterator[None]:
    """Run a block and restore what modules keep in attributes (hidden states, say), numbers and words excepted."""
    if torch.compiler.is_compiling():
        yield
        return
    before = [(module, dict(kept_of(module))) for module in network.modules()]
    with states_as_before(network):
        try:
            yield
        finally:
            for module, held in before:
                for name, value in [*kept_of(module)]:
                    if value is held.get(name) or (
                        value is not None and isinstance(value, PLAIN) and not is_kept(module, name)
                    ):
                        continue
                    if name in held:
                        module.__dict__[name] = held[name]
                    else:
                        del module.__dict__[name]


_KEPT: WeakKeyDictionary[nn.Module, Kept] = WeakKeyDictionary()


def kept_by(network: nn.Module) -> Kept:
    """The findings about a network, common to all models on it."""
    return _KEPT.setdefault(network, Kept())


class Beside:
    """Checks for caches before the first pass, and when a layer's tensor is first read.

    The plain network runs twice. Caches that this leaves in the network are those of the plain network.

    Args:
        kept: of the findings.
        selection: the pass.
        training: the mode of its layers.
        plain: a context manager with a quiet plain network in that mode, outside of transforms.
        args, kwargs: the pass's inputs.
        method: the backbone's method that runs.
    """

    def __init__(
        self,
        kept: Kept,
        selection: Selection,
        training: bool,
        plain: Callable[[bool], AbstractContextManager[nn.Module]],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        method: str,
    ) -> None:
        self.kept, self.selection, self.training, self.plain = kept, selection, training, plain
        self.inputs = args, kwargs, method

    def calls(self) -> None:
        """Checks once in each mode that the network caches no layer's output.

        Raises:
            ValueError: it does so for a layer that the pass's tasks change.
        """
        if self.training not in self.kept.called and self.selection.answers.paths:
            self._try(self.training)
        self.kept.check(self.selection.answers.paths)

    def look(self) -> None:
        """Runs the plain network, if none has in this mode."""
        if self.training not in self.kept.called:
            self._try(self.training)

    def knows(self, path: str, name: str) -> bool:
        """Whether a tensor was checked."""
        return (path, name) in self.kept.known[self.training]

    def reads(self, path: str, name: str, now: Selection) -> None:
        if self.knows(path, name):
            return
        if self._try((self.training, path, name)):
            self.kept.known[self.training].add((path, name))
            self.kept.check(self.selection.answers.paths)

    def _try(self, key: object) -> bool:
        """Whether the check is done, or given up."""
        self.kept.tried[key] = self.kept.tried.get(key, 0) + 1
        try:
            self._run()
        except Exception:  # the inputs may have changed since, as a cache of keys and values does
            if self.kept.tried[key] < TRIES:
                return False
            self.kept.called.add(self.training)
        return True

    def _run(self) -> None:
        args, kwargs, method = self.inputs
        batch = Batch.of(args, kwargs, rows_of(args, kwargs) or 0).unwrapped()
        with self.plain(not any(map(in_vmap, batch.tensors))) as network:
            args, kwargs = (batch if method == "__call__" else prompts(network, batch)).copied().arguments()

            def again() -> list[Any]:
                with torch.no_grad(), generators(), selecting(Selection(OfTasks(()), None, self.training)):
                    return [*filter(torch.is_tensor, tree_leaves(network(*args, **kwargs)))]

            left = Outlasting(network)
            each, outputs = list[Counter[str]](), list[list[Any]]()
            with self.kept.looking(self.training), Calls(sites_of(network), network, self.kept.asked) as calls:
                for _ in range(2):
                    calls.often = Counter()
                    outputs.append(again())
                    each.append(calls.often)
            self.kept.calls(self.training, each[0] - each[1], calls)
            if not _alike(*outputs):
                self.kept.outside = self.kept.outside or left.outside(again)
            elif left.exchange():
                outputs.append([])
                with suppress(Exception):
                    outputs.append(again())
            if not _alike(outputs[0], outputs[-1]):
                self.kept.goes_on = True
                left.matter()


def _alike(one: list[Any], other: list[Any]) -> bool:
    """Whether two passes put out the same numbers, on accelerators up to rounding."""
    return len(one) == len(other) and all(map(_equal, one, other))


def _equal(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape or not one.is_floating_point():
        return torch.equal(one, other)
    near = 0 if one.is_cpu else 1e-3
    return torch.allclose(one, other.to(one), rtol=near, atol=near, equal_nan=True)
