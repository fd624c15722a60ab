"""The frozen part of a network, which runs before the first adapted layer: found, recorded and skipped."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn

from ..kinds import WeightKind, kind_of
from ._absent import AbsentError
from ._calls import Watch
from ._proxy import OF
from ._put_out import Made, PrefixError, made_of
from ._reading import telling
from ._selection import Selection
from ._sites import Site
from ._skeleton import sites_of
from ._spread import SHARED


class _Ended(BaseException):
    """Ends a recording pass after the frozen part."""


class Step:
    """A module's forward that `Prefix` can record or skip."""

    def __init__(self, path: str, forward: Callable[..., Any], course: Prefix) -> None:
        self.path, self.inner, self.course = path, forward, course

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.course.step(self, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        if name == "inner":
            raise AttributeError(name)
        return getattr(self.inner, name)  # a site's attributes


class Prefix:
    """A skeleton whose frozen part is known. It runs one pass at a time.

    Args:
        network: a skeleton, used here alone.
        changed: the paths of the adapted layers.
    """

    def __init__(self, network: nn.Module, changed: Collection[str]) -> None:
        self.network, self.changed = network, changed
        self.paths: list[str] = []
        """The outermost modules of the frozen part."""
        self.way: Callable[[Step, tuple[Any, ...], dict[str, Any]], Any] | None = None

    def step(self, step: Step, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return step.inner(*args, **kwargs) if self.way is None else self.way(step, args, kwargs)

    def find(self, run: Callable[[], Any]) -> None:
        """Find the frozen part in one pass.

        Args:
            run: the pass, on the skeleton.

        Raises:
            PrefixError: there is none, or it is small.
        """
        wrapped = self._wrap(path for path, _ in self.network.named_modules() if path not in self.changed)
        watch = _Changes(self.changed, sites_of(self.network))
        before: dict[str, bool] = {}

        def follow(step: Step, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            start = drawn()
            output = step.inner(*args, **kwargs)
            if drawn() != start:
                watch.note(f"module {step.path!r}, which draws random numbers in training")
            before[step.path] = before.get(step.path, True) and not watch.first
            return output

        with self._going(follow), watch, telling(watch):
            run()
        for module, own in wrapped:
            _put(module, own)
        done = [path for path, first in before.items() if first]
        self.paths = [path for path in done if not _within([path], [one for one in done if one != path])]
        layers = [p for p, module in self.network.named_modules() if isinstance(kind_of(_own(module)), WeightKind)]
        while self.paths and not _within(layers, self.paths[-1:]):
            self.paths.pop()  # a last module without weights is cheaper to compute than to store
        mine = _within(layers, self.paths)
        if not mine or len(mine) < SHARED * len(layers):
            first = f", {watch.first}" if watch.first else ""
            raise PrefixError(f"{len(mine)} of {len(layers)} layers run before the first that can't be kept{first}")
        self._wrap(self.paths)

    def again(self, network: nn.Module) -> Prefix:
        """The prefix with the same paths on another skeleton of the network."""
        made = Prefix(network, self.changed)
        made.paths = self.paths
        made._wrap(made.paths)
        return made

    @contextmanager
    def recording(self, batch: int, ends: int = 0, needed: Collection[int] | None = None) -> Iterator[Recorded]:
        """Run a block in which a pass records the outputs of the frozen part.

        Args:
            batch: rows of the pass.
            ends: stop the pass after so many calls of the frozen part's modules; 0: run it to its end.
            needed: numbers of the calls whose tensors are kept; None: all.
        """
        made, depth = Recorded(ends, needed), 0

        def note(step: Step, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            nonlocal depth
            depth += 1
            try:
                output = step.inner(*args, **kwargs)
            finally:
                depth -= 1
            if not depth:
                made.add(*made_of(step.path, output, batch))
            return output

        with self._going(note), suppress(_Ended):
            yield made

    @contextmanager
    def replaying(self, outputs: Sequence[tuple[str, Any]]) -> Iterator[None]:
        """Run a block in which a pass takes recorded outputs and skips the frozen part's modules.

        Args:
            outputs: the module's path and the output of each call, in order.

        Raises:
            AbsentError: the pass calls other modules of the frozen part, or another number of them.
        """
        count = 0

        def skip(step: Step, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            nonlocal count
            count += 1
            if count > len(outputs) or outputs[count - 1][0] != step.path:
                raise AbsentError(f"the network calls module {step.path!r} where it did not before")
            return outputs[count - 1][1]

        with self._going(skip):
            yield
        if count != len(outputs):
            raise AbsentError(f"the network calls {count} modules of its frozen part, where there were {len(outputs)}")

    @contextmanager
    def _going(self, way: Callable[[Step, tuple[Any, ...], dict[str, Any]], Any]) -> Iterator[None]:
        self.way = way
        try:
            yield
        finally:
            self.way = None

    def _wrap(self, paths: Iterable[str]) -> list[tuple[nn.Module, Any]]:
        modules, kept = dict(self.network.named_modules()), list[tuple[nn.Module, Any]]()
        for path, module in [(path, modules[path]) for path in paths]:
            if OF not in module.__dict__:
                raise PrefixError(f"module {path!r} ({type(module).__name__}) runs as it is, and can't be skipped")
            kept.append((module, module.__dict__.get("forward")))
            module.__dict__["forward"] = Step(path, module.forward, self)
        return kept


class Recorded:
    """The outputs of the frozen part's calls in one pass, in order; `tensors`: of each call, those with rows."""

    def __init__(self, ends: int = 0, needed: Collection[int] | None = None) -> None:
        self.ends, self.needed = ends, needed
        self.calls: list[Made] = []
        self.tensors: list[list[Tensor]] = []

    def add(self, made: Made, tensors: list[Tensor]) -> None:
        kept = self.needed is None or len(self.calls) in self.needed
        self.calls.append(made)
        self.tensors.append([tensor.clone() for tensor in tensors if kept])  # later modules may write the output
        if len(self.calls) == self.ends:
            raise _Ended


def drawn() -> tuple[object, ...]:
    """The states of the random generators that a network may draw from."""
    cards = [one.numpy().tobytes() for one in torch.cuda.get_rng_state_all()] if torch.cuda.is_initialized() else []
    return torch.get_rng_state().numpy().tobytes(), random.getstate(), *cards


class _Changes(Watch):
    """Finds the first event that ends the frozen part: an adapted layer runs, its tensor is read, or a note."""

    def __init__(self, changed: Collection[str], sites: Sequence[Site]) -> None:
        super().__init__()
        self.changed, self.first = changed, ""
        self.sites = [site for site in sites if site.path in changed]

    def __enter__(self) -> None:
        for site in self.sites:
            site.calls = self

    def __exit__(self, *_: object) -> None:
        for site in self.sites:
            site.calls = None

    def note(self, what: str) -> None:
        self.first = self.first or what

    def called(self, site: Site) -> None:
        self.note(f"layer {site.path!r}, which the tasks change")

    def knows(self, path: str, name: str) -> bool:
        return path not in self.changed

    def reads(self, path: str, name: str, now: Selection) -> None:
        self.note(f"layer {path!r}, which the tasks change")


def _within(paths: Iterable[str], others: Iterable[str]) -> list[str]:
    """The paths that are one of the others or lie inside one."""
    outer = tuple(f"{path}." if path else "" for path in others)
    return [path for path in paths if f"{path}.".startswith(outer)]


def _own(module: nn.Module) -> nn.Module:
    return module.__dict__.get(OF, module)


def _put(module: nn.Module, forward: Any) -> None:
    if forward is None:
        del module.__dict__["forward"]
    else:
        module.__dict__["forward"] = forward
