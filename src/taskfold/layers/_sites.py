"""A module of the skeleton that asks, when it runs, for whom."""

from __future__ import annotations

import inspect
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..interventions import Call, Intervention, Layer, form_at
from ..kinds import LayerKind, Rows, Tensors, by_entry
from ._selection import Selection, Stack, current, selecting
from ._spread import Arguments


class Site:
    """A module's forward in the skeleton.

    Args:
        path: the module's name.
        module: of the skeleton.
        kind: what it is.

    Raises:
        TypeError: somebody has patched the module's forward, which the site would hide.
    """

    def __init__(self, path: str, module: nn.Module, kind: LayerKind) -> None:
        if "forward" in module.__dict__:
            raise TypeError(
                f"layer {path!r} has a forward patched onto the instance (hooks of a device map, say), which an "
                "adapter cannot see; load the backbone without it"
            )
        self.path, self.module, self.kind = path, module, kind
        self.layers = Layer(kind, path, {}, False), Layer(kind, path, {}, True)
        self.ran = False
        self.goes: dict[tuple[object, ...], bool] = {}
        """Whether rows run at once, by intervention, mode and names of tensors."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        now = current()
        self.ran = True
        if now.noting is not None:
            now.noting.setdefault(self.path, set()).add(len(_first(args, kwargs)))
            return self.kind.plain(*args, **kwargs)
        if self.path not in now.answers.paths:
            return self.kind.plain(*args, **kwargs)
        if now.spread is not None:
            return now.spread.call(partial(self._of_all, now), self._bound(args, kwargs), self.kind.axes)
        if now.rows is not None:
            rows, known = now.rows, now.sizes.get(self.path)
            first = args[0] if args and isinstance(args[0], Tensor) else _first(args, kwargs)
            if first.shape[0] != rows.size or (known is not None and 1 not in known):
                rows = now.rows_at(first, self.path)
            return self._by_rows(now, rows, args, kwargs)
        if now.training and now.answers.draws(self.path, self.kind, now):
            return self._by_rows(now, Rows.side_by_side(1, _first(args, kwargs).shape[0]), args, kwargs)
        return self._one(now, now.answers.stack(self.path, self.kind, now), args, kwargs)

    def _layer(self, now: Selection) -> Layer:
        return Layer(self.kind, self.path, {}, now.training, form_at(now.execution, self.path))

    def _one(self, now: Selection, stack: Stack, args: tuple, kwargs: dict) -> Any:
        """Every row for the same task."""
        if not stack:
            return self.kind.plain(*args, **kwargs)
        layer = self.layers[now.training] if now.execution == "auto" else self._layer(now)
        call: Call = layer
        for intervention, tensors in stack[:-1]:
            call = intervention.bound(tensors, call, layer)
        intervention, tensors = stack[-1]
        return intervention.run(tensors, call, layer, args, kwargs)

    def _by_rows(self, now: Selection, rows: Rows, args: tuple, kwargs: dict) -> Any:
        """A batch whose rows each have their own task."""
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
        if stack is None:
            return self._split(now, rows, args, kwargs)
        for intervention, tensors in stack:
            if not self._go_by_rows(intervention, tensors, now.training):
                return self._split(now, rows, args, kwargs)
        return self._rows(now, stack, rows, args, kwargs)

    def _go_by_rows(self, intervention: Intervention, tensors: Tensors, training: bool) -> bool:
        """Whether rows run at once; asked once for names of tensors."""
        if torch.compiler.is_compiling():
            return intervention.goes_by_rows(self.kind, tensors.keys(), training)
        key = (type(intervention), training, *tensors)
        if key not in self.goes:
            self.goes[key] = intervention.goes_by_rows(self.kind, tensors.keys(), training)
        return self.goes[key]

    def _rows(
        self, now: Selection, stack: Stack, rows: Rows, args: tuple, kwargs: dict, alike: Tensor | None = None
    ) -> Any:
        """All rows at once; `alike`: the layer's plain output, if it is known."""
        layer = self.layers[now.training] if now.execution == "auto" else self._layer(now)
        call: Call = replace(layer, rows=rows) if alike is None else lambda *_, **__: alike
        for intervention, tensors in stack[:-1]:
            call = intervention.bound_rows(tensors, rows, call, layer)
        intervention, tensors = stack[-1]
        return intervention.rows(tensors, rows, call, layer, args, kwargs)

    def _of_all(self, now: Selection, tasks: int, every: Arguments, single: Arguments | None) -> Any:
        """Rows of all tasks; `single`: the same rows once, where tasks do not differ yet."""
        args, kwargs = every
        with selecting(alone := now.of_all(_first(args, kwargs).shape[0] // tasks)):
            assert alone.rows is not None
            if (
                single is None
                or not now.answers.stands_beside(self.path)
                or (now.training and now.answers.draws(self.path, self.kind, now))
            ):
                return self._by_rows(alone, alone.rows, args, kwargs)
            stack = now.answers.stacks(self.path, self.kind, now)
            assert stack is not None
            y: Tensor = self.kind.plain(*single[0], **single[1])
            # Memory of its own: what is added is added in place.
            return self._rows(alone, stack, alone.rows, args, kwargs, torch.cat([y] * tasks))

    def _split(self, now: Selection, rows: Rows, args: tuple, kwargs: dict) -> Any:
        """Any layer, any number of batched arguments: the rows of each task by themselves."""
        args, kwargs = self._bound(args, kwargs)
        self.kind.check_rows(kwargs, self.path)
        whole = {name: value for name, value in kwargs.items() if name in self.kind.whole}
        batched = {name: value for name, value in kwargs.items() if name not in whole}

        def one(entry: int, mine: tuple, named: dict) -> Any:
            with selecting(alone := now.of_one(entry)):
                stack = alone.answers.stack(self.path, self.kind, alone) if self.path in alone.answers.paths else []
                return self._one(alone, stack, mine, {**named, **whole})

        return by_entry(rows.groups(self.path), rows.size, (args, batched), one, self.kind.axes)

    def _bound(self, args: tuple, kwargs: dict) -> Arguments:
        """Arguments by their names, as far as the module's forward names them; a single one as it is."""
        if len(args) == 1 and not kwargs:
            return args, kwargs
        found = inspect.signature(type(self.module).forward).bind(self.module, *args, **kwargs).arguments
        named = {name: value for name, value in found.items() if name not in ("self", "args", "kwargs")}
        return found.get("args", ()), {**named, **found.get("kwargs", {})}


def _first(args: tuple, kwargs: dict) -> Tensor:
    return next(value for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
