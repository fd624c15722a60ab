"""Sites: the forwards of adapted layers in a skeleton, which apply the tasks of the current selection."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from ..interventions import Call, Intervention, Layer, form_at
from ..kinds import LayerKind, Rows, Tensors, WeightKind, stand_in
from ._answers import OfTable
from ._calls import Watch
from ._cut import Cut, NotCutError
from ._layout import ALL, FIRST, Layout, Seen
from ._notes import Notes
from ._selection import RowsUnknownError, Selection, Stack, _current, current, selecting
from ._spread import Arguments, Spread

NOBODY = OfTable({}, 0)
NEVER = Seen((None,), ())
"""The value for a layer that did not run in the passes that located rows."""


class Site:
    """The forward of an adapted layer's proxy.

    Args:
        path: the layer's name.
        module: a proxy of the plain layer.
        kind: the layer's kind.
    """

    def __init__(self, path: str, module: nn.Module, kind: LayerKind) -> None:
        self.path, self.module, self.kind = path, module, kind
        self.layers = Layer(kind, path, {}, False, bare=self._bare), Layer(kind, path, {}, True, bare=self._bare)
        self.ran = False
        self.calls: Watch | None = None
        """Observes the layer's calls; None: no block does."""
        self.still = False
        """A normalisation that evaluates in training passes, since the user has called its `eval()`."""
        self.before = False
        """Passes that note use `LayerKind.as_before`, the layer's path for tasks with an `around` intervention."""
        self.goes: dict[tuple[object, ...], bool] = {}
        """Whether rows of all tasks run in one call, by intervention, mode and names of tensors."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        now = _current.selection or current(self.path)
        self.ran = True
        if self.calls is not None and not self.calls.runs(self):
            with self.calls.of(self):
                return self.calls.out(self(*args, **kwargs))
        if self.still and now.training:
            now = replace(now, training=False)
        site = self._with(now.left[self.path]) if self.path in now.left else self
        if now.rows is None or now.noting is not None or now.spread is not None:
            return site._run(now, args, kwargs)
        if self.path not in now.answers.paths:
            return site.kind.plain(*args, **kwargs)
        return site._mixed(now, now.rows, args, kwargs)

    def _with(self, left: dict[str, Any]) -> Site:
        """The site with attributes that a hook has set on its layer: a computed weight, say."""
        module = stand_in(self.module, {}, **left)
        twin = copy.copy(self)
        twin.module, twin.kind = module, self.kind.at(module)
        twin.layers = tuple(replace(layer, kind=twin.kind) for layer in self.layers)  # type: ignore[assignment]
        return twin

    def _run(self, now: Selection, args: tuple, kwargs: dict) -> Any:
        if now.noting is not None:
            return self._noted(now.noting, args, kwargs)
        if self.path not in now.answers.paths:
            return self.kind.plain(*args, **kwargs)
        single = now.rows is None and isinstance(self.kind, WeightKind) and args and isinstance(args[0], Tensor)
        if single and self.kind.is_single(args[0]):
            return self(args[0][None], *args[1:], **kwargs)[0]
        if now.spread is not None:
            if not now.spread.differs and (common := now.answers.common(self.path, self.kind, now)) is not None:
                return self._one(now, common, args, kwargs)
            if (stack := self._apart(now, now.spread)) is not None:
                return self._one(now, stack, args, kwargs)
            return now.spread.call(partial(self._of_all, now), self._bound(args, kwargs), self.kind.axes)
        if now.training and now.answers.draws(self.path, self.kind, now):
            if not (size := _first(args, kwargs).shape[0]):
                return self.kind.plain(*args, **kwargs)
            rows = Rows.side_by_side(1, size)
            return self._by_rows(now, rows, args, kwargs, partial(self._split, now, rows, (FIRST,), (FIRST,)))
        return self._one(now, now.answers.stack(self.path, self.kind, now), args, kwargs)

    def _layer(self, now: Selection) -> Layer:
        return replace(self.layers[now.training], form=form_at(now.execution, self.path))

    def _bare(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the layer and the modules in it without any task."""
        with selecting(replace(current(self.path), answers=NOBODY)):
            return self.kind.plain(*args, **kwargs)

    def _one(self, now: Selection, stack: Stack, args: tuple, kwargs: dict) -> Any:
        """Runs all rows for one task."""
        if not stack:
            return self.kind.plain(*args, **kwargs)
        layer = self.layers[now.training] if now.execution == "auto" else self._layer(now)
        call: Call = layer
        for intervention, tensors in stack[:-1]:
            call = intervention.bound(tensors, call, layer)
        intervention, tensors = stack[-1]
        return intervention.run(tensors, call, layer, args, kwargs)

    def _noted(self, notes: Notes, args: tuple, kwargs: dict) -> Any:
        args, kwargs = self._bound(args, kwargs)
        inputs = notes.marked((args, kwargs))
        plain = self.kind.as_before if self.before else self.kind.plain
        return notes.noted(self.path, inputs, plain(*args, **kwargs))

    def _mixed(self, now: Selection, rows: Rows, args: tuple, kwargs: dict) -> Any:
        """Runs a mixed batch; rows lie in the inputs where `Selection.seen` says."""
        seen = now.seen.get(self.path, NEVER)
        if why := seen.unknown:
            raise RowsUnknownError(self.path, why)
        place: Layout = seen.inputs[0]  # type: ignore[assignment]
        first = args[0] if args and isinstance(args[0], Tensor) else _first(args, kwargs)
        if not torch.compiler.is_compiling() and not (rows.size and first.numel()):
            return self.kind.plain(*args, **kwargs)  # no rows: an empty batch, or a detector that found nothing
        batch, split = rows, partial(self._split, now, rows, seen.inputs, seen.outputs)
        if place is not FIRST or first.shape[0] != rows.size:
            rows = now.rows_at(place, first, self.path)
        if place.axis == 0 and (seen.outputs[:1] == seen.inputs[:1] or not self.kind.splits):
            return self._by_rows(now, rows, args, kwargs, split)
        if self.kind.splits:
            return split(args, kwargs)
        if place.axis == 1 and self.kind.exchanges(first):
            (x,) = (*args, *kwargs.values())
            ahead = (replace(place, axis=0),)
            split = partial(self._split, now, batch, ahead, ahead)
            return self._by_rows(now, rows, (x.transpose(0, 1),), {}, split).transpose(0, 1).contiguous()
        raise RowsUnknownError(self.path, f"sees rows of the batch on axis {place.axis}")

    def _by_rows(self, now: Selection, rows: Rows, args: tuple, kwargs: dict, split: Callable[..., Any]) -> Any:
        """Runs rows along the first axis, each for its task; `split` is the fallback, one call per task."""
        if now.training:
            if now.answers.draws(self.path, self.kind, now):
                index = rows.entry_of_each(_first(args, kwargs).device)
                return self._rows(
                    now, now.answers.drawn(self.path, self.kind, now, index), Rows(rows.size, None), args, kwargs
                )
            if (each := now.answers.each(self.path)) is not None:
                trained = self.kind.trained_rows(each, rows, _first(args, kwargs), self.path)
                if trained is not None:
                    return trained
        stack = now.answers.stacks(self.path, self.kind, now)
        if stack is None or (len(args) + len(kwargs) != 1 and isinstance(self.kind, WeightKind)):
            return split(args, kwargs)  # a layer with a weight takes its input and nothing else
        for intervention, tensors in stack:
            key = (type(intervention), now.training, *tensors)
            goes = None if torch.compiler.is_compiling() else self.goes.get(key)
            if not (self._goes(intervention, tensors, now.training) if goes is None else goes):
                return split(args, kwargs)
        return self._rows(now, stack, rows, args, kwargs)

    def _goes(self, intervention: Intervention, tensors: Tensors, training: bool) -> bool:
        """Whether rows of all tasks run in one call; cached, except under a compiler."""
        found = intervention.goes_by_rows(self.kind, tensors.keys(), training)
        if not torch.compiler.is_compiling():
            self.goes[type(intervention), training, *tensors] = found
        return found

    def _rows(
        self, now: Selection, stack: Stack, rows: Rows, args: tuple, kwargs: dict, alike: Tensor | None = None
    ) -> Any:
        """Runs all rows in one call; `alike`: the layer's plain output, if it is known."""
        layer = self.layers[now.training] if now.execution == "auto" else self._layer(now)
        call: Call = replace(layer, rows=rows) if alike is None else lambda *_, **__: alike
        for intervention, tensors in stack[:-1]:
            call = intervention.bound_rows(tensors, rows, call, layer)
        intervention, tensors = stack[-1]
        return intervention.rows(tensors, rows, call, layer, args, kwargs)

    def _apart(self, now: Selection, spread: Spread) -> Stack | None:
        """The stack of each task under `vmap`, if an intervention is `around` the layers inside; else None."""
        stack = now.answers.stacks(self.path, self.kind, now)
        if not stack or not any(one.around for one, _ in stack):
            return None
        return [(one, {name: spread.own(held) for name, held in tensors.items()}) for one, tensors in stack]

    def _of_all(
        self, now: Selection, tasks: int, every: Arguments, single: Arguments | None, apart: Sequence[bool]
    ) -> Any:
        """Runs all tasks' rows; `single`: the rows once, where tasks do not differ; `apart`: as in `Spread.call`."""
        args, kwargs = every
        places = [FIRST if one else ALL for one in apart]
        axes = [Layout(axis) for axis in self.kind.axes]
        split = partial(self._split, now, Rows.side_by_side(tasks, 1), places, axes)
        with selecting(alone := now.of_all(_first(args, kwargs).shape[0] // tasks)):
            assert alone.rows is not None
            if (
                single is None
                or not now.answers.stands_beside(self.path)
                or (now.training and now.answers.draws(self.path, self.kind, now))
            ):
                return self._by_rows(alone, alone.rows, args, kwargs, split)
            stack = now.answers.stacks(self.path, self.kind, now)
            assert stack is not None
            several = len(single[0]) + len(single[1]) != 1 and isinstance(self.kind, WeightKind)
            if several or not all(self._goes(one, tensors, now.training) for one, tensors in stack):
                return self._by_rows(alone, alone.rows, args, kwargs, split)
            y: Tensor = self.kind.plain(*single[0], **single[1])
            # A copy for each task, since interventions add in place.
            return self._rows(alone, stack, alone.rows, args, kwargs, torch.cat([y] * tasks))

    def _split(
        self,
        now: Selection,
        rows: Rows,
        inputs: Sequence[Layout | None],
        outputs: Sequence[Layout | None],
        args: tuple,
        kwargs: dict,
    ) -> Any:
        """Runs the rows of each task in a call of their own, for any layer; `inputs`, `outputs`: their layouts."""
        cut = Cut.of(rows.groups(self.path))

        def one(entry: int, mine: Arguments) -> Any:
            with selecting(alone := now.of_one(entry)):
                stack = alone.answers.stack(self.path, self.kind, alone) if self.path in alone.answers.paths else []
                return self._one(alone, stack, *mine)

        try:
            return cut.run(one, self._bound(args, kwargs), inputs, outputs)
        except NotCutError as error:
            raise RowsUnknownError(self.path, str(error)) from None

    def _bound(self, args: tuple, kwargs: dict) -> Arguments:
        """The arguments in the order of the signature of the module's forward (of a wrapper, its own signature)."""
        if len(args) == 1 and not kwargs:
            return args, kwargs
        found = inspect.signature(self.module.forward, follow_wrapped=False).bind(*args, **kwargs)
        return found.args, found.kwargs


def _first(args: tuple, kwargs: dict) -> Tensor:
    """The first tensor among a layer's inputs, nested ones included."""
    if args and isinstance(args[0], Tensor):
        return args[0]
    return next(leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor))
