"""What a task does at one module, and how the module runs with it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from ..factors import Bottleneck, Ranked
from ..tasks import Task
from ._banked import has_statistics, norm_held, norm_of, normalised
from ._branches import Branched, Branches
from ._execute import is_grouped, joined, run
from ._forms import form_at
from ._own import Own, OwnState
from ._rows import Rows, beside_rows, dense_rows, draws_per_row, factors_of
from ._selection import Selection, current, selecting
from ._spread import Arguments
from ._stages import frozen
from ._stand_in import stand_in
from ._standing import Inventory, standing
from ._trained_norm import trained_by_rows, trains_by_rows
from ._traits import Traits, goes_by_rows
from ._update import Logits, Place, Update, WeightUpdate
from ._where import UNITS


class SiteState(nn.Module):
    """Everything that one task does at one module: own tensors, updates of weights, or branches in its place."""

    def __init__(self) -> None:
        super().__init__()
        self.own: OwnState | None = None
        self.branches: Branches | None = None
        self.updates = nn.ModuleDict()

    def views(self) -> dict[str, WeightUpdate]:
        return dict(self.updates.items())  # type: ignore[arg-type]

    def own_tensors(self) -> dict[str, Tensor]:
        return {} if self.own is None else self.own.tensors()

    def tensors(self, module: nn.Module, training: bool | None = None) -> dict[str, Tensor]:
        """The module's tensors as this task has them, by name; those it leaves alone are not listed.

        `training` None: in the mode that the task is in.
        """
        state = self.own_tensors()
        for update in self.views().values():
            name = update.view.parameter
            weight = state[name] if name in state else module.get_parameter(name)
            state[name] = update.applied_to(weight, training)
        if self.branches is not None:
            assert isinstance(module, nn.Conv2d)
            state |= self.branches.tensors(module)
        return state

    @property
    def beside(self) -> bool:
        """Whether all that it does is to add to weights."""
        return self.own is None and self.branches is None and not any(u.replaces for u in self.views().values())

    def one_bottleneck(self, module: nn.Module) -> bool:
        """Whether all that is added to a layer's weight can run as one bottleneck."""
        alone = len(self.updates) == 1 or (bool(self.updates) and isinstance(module, nn.Linear))
        return alone and all(_has_bottleneck(update) for update in self.views().values())

    def bottleneck(
        self, module: nn.Module, path: str = "", made: Mapping[Place, Bottleneck] = MappingProxyType({})
    ) -> Bottleneck:
        """All that is added as that one; `made` has what was made ahead, by place."""
        weight: Tensor = module.weight  # type: ignore[assignment]
        parts = []
        for name, update in self.views().items():
            factors = made.get((path, name)) or update.bottleneck(weight.dtype)
            assert factors is not None
            parts.append((factors, update.view))
        return joined(parts, len(weight))

    def common(self) -> object | None:
        """What is equal for tasks that do the same here; None: a task has something of its own."""
        if next(self.parameters(), None) is not None or next(self.buffers(), None) is not None:
            return None
        updates = tuple((name, u.factorisation, u.rule, id(u.bank)) for name, u in self.views().items())
        parts = [part and part.shared and part.shared[0] for part in (self.own, self.branches)]
        return updates, *parts


@dataclass(frozen=True)
class Composition:
    """A method, taken apart: the updates it makes, the branches it trains and the state it copies."""

    updates: tuple[Update, ...] = ()
    own: tuple[Own, ...] = ()
    branched: tuple[Branched, ...] = ()


def fit(
    composition: Composition, network: nn.Module, inventory: Inventory, prefix: str, frozen_stages: int = 0
) -> dict[str, SiteState]:
    """The state of a new task at every module of `network` that the method touches, past the first stages.

    Raises:
        ValueError: some part of the method finds nothing, or all of it lies in those stages, or there are fewer.
    """
    before, known = frozen(network, frozen_stages), set(inventory)
    every = _fit(composition, network, inventory, prefix)
    sites = {path: state for path, state in every.items() if path not in before}
    if every and not sites:
        raise ValueError(f"frozen_stages={frozen_stages} leaves nothing to adapt in {type(network).__name__}; lower it")
    held = {key for state in sites.values() for key, _ in standing(state)}
    for key in set(inventory) - known - held:
        del inventory[key]
    return sites


def _fit(composition: Composition, network: nn.Module, inventory: Inventory, prefix: str) -> dict[str, SiteState]:
    sites: dict[str, SiteState] = {}
    made: dict[str, set[str]] = {}
    logits: Logits = {}
    for n, update in enumerate(composition.updates):
        for path, added in update.fit(network, inventory, f"{prefix}.{n}", logits):
            sites.setdefault(path, SiteState()).updates[f"{n}:{added.view.name}"] = added
            if added.replaces and added.view.rows is None:
                made.setdefault(path, set()).add(added.view.parameter)
    for branched in composition.branched:
        for path, branches in branched.fit(network, inventory, prefix):
            sites.setdefault(path, SiteState()).branches = branches
            made.setdefault(path, set()).update(("weight", "bias"))
    for own in composition.own:
        for path, state in own.fit(network, made, inventory, prefix):
            sites.setdefault(path, SiteState()).own = state
    return sites


States = list[SiteState | None]
"""Of one module, one for each task; None: that task leaves it alone."""


class Site:
    """A module of the skeleton whose forward asks which task it runs for."""

    def __init__(self, path: str, module: nn.Module, traits: Traits | None = None) -> None:
        if "forward" in module.__dict__:
            raise TypeError(
                f"layer {path!r} has a forward patched onto the instance (hooks of a device map, say), which an "
                "adapter cannot see; load the backbone without it"
            )
        self.path, self.module = path, module
        self.traits = traits or Traits.of(module)
        self.ran = False

    def __call__(self, *args: object, **kwargs: object) -> object:
        selection = current()
        self.ran = True
        if selection.noting is not None:
            selection.noting.setdefault(self.path, set()).add(len(_first(args, kwargs)))
            return self.plain(*args, **kwargs)
        if selection.banked is not None:
            return self._of_bank(selection, args, kwargs)
        states = [self._state(task) for task in selection.tasks]
        if all(state is None for state in states):
            return self.plain(*args, **kwargs)
        if selection.spread is not None:
            return selection.spread.call(partial(self._of_all, states, selection), self._bound(args, kwargs))
        if selection.rows is None and not self._draws_per_row(states[0]):
            return self._one(states[0], selection, args, kwargs)
        return self._by_rows(states, selection, args, kwargs)

    def _of_bank(self, selection: Selection, args: tuple, kwargs: dict) -> object:
        assert selection.banked is not None
        run = selection.banked.get(self.path)
        if run is None:
            return self.plain(*args, **kwargs)
        if selection.spread is None:
            selection.check_rows(_first(args, kwargs), self.path)
            return run(self, *args, *kwargs.values())  # type: ignore[arg-type]
        # Rows of one task lie side by side, as windows of one row do.
        return selection.spread.call(lambda _, every, __: run(self, _first(*every)), (args, kwargs))

    def _by_rows(self, states: States, selection: Selection, args: tuple, kwargs: dict, alike: object = None) -> object:
        """A batch whose rows each have their own task; `alike`: the module's plain output, if it is known."""
        selection.check_rows(_first(args, kwargs), self.path)
        if self._runs_beside(states):
            return self._beside_rows(states, selection, alike, *args, *kwargs.values())  # type: ignore[arg-type]
        if goes_by_rows(self.module, self.traits.scale) and not (selection.training and has_statistics(self.module)):
            return self._norm_rows(states, selection, *args, *kwargs.values())  # type: ignore[arg-type]
        own = [{} if state is None else state.own_tensors() for state in states]
        if selection.training and trains_by_rows(self.module, own):
            x = _first(args, kwargs)
            if groups := selection.groups_at(x):
                return trained_by_rows(self.module, own, groups, x)
        return self._split(states, selection, args, kwargs)

    def _of_all(
        self, states: States, selection: Selection, tasks: int, every: Arguments, single: Arguments | None
    ) -> object:
        """Rows of all tasks; `single`: the same rows once, where tasks do not differ yet."""
        first = _first(*every)
        with selecting(alone := selection.of_all(len(first) // tasks, first.device)):
            alike = None
            if single is not None and self._runs_beside(states):
                y: Tensor = self.plain(*single[0], **single[1])  # type: ignore[assignment]
                alike = torch.cat([y] * tasks)  # memory of its own: what is added is added in place
            return self._by_rows(states, alone, *every, alike)

    def _state(self, task: Task) -> SiteState | None:
        state = task.sites.get(self.path)
        assert state is None or isinstance(state, SiteState)
        return state

    def plain(self, *args: object, **kwargs: object) -> object:
        """The module as it is, without any task."""
        return type(self.module).forward(self.module, *args, **kwargs)

    def _one(self, state: SiteState | None, selection: Selection, args: tuple, kwargs: dict) -> object:
        if state is None:
            return self.plain(*args, **kwargs)
        if state.branches is not None and selection.training:
            return state.branches.run(self.module, *args, *kwargs.values())  # type: ignore[arg-type]
        if self.traits.additive and state.one_bottleneck(self.module):
            x, *_ = *args, *kwargs.values()
            factors = state.bottleneck(self.module, self.path, selection.made)
            wanted = form_at(selection.execution, self.path)
            return run(self.module, state.own_tensors(), factors, x, wanted)  # type: ignore[arg-type]
        return self._with(state.tensors(self.module), selection.training)(*args, **kwargs)

    def _with(self, tensors: dict[str, Tensor], training: bool) -> Callable[..., object]:
        if not tensors:
            return self.plain
        # Its own normalisation trains with the task; the skeleton's copy never does.
        return stand_in(self.module, tensors, training=training).forward

    def _draws_per_row(self, state: SiteState | None) -> bool:
        return state is not None and draws_per_row(list(state.views().values()))

    def _runs_beside(self, states: States) -> bool:
        return self.traits.additive and all(state is None or state.beside for state in states)

    def _beside_rows(self, states: States, selection: Selection, alike: Tensor | None, x: Tensor) -> Tensor:
        index = selection.row_index(x, self.path)
        groups = groups if (groups := selection.groups_at(x)) and groups.pays else None
        names = dict.fromkeys(name for state in states if state for name in state.views())
        views = {name: [state and state.views().get(name) for state in states] for name in names}
        drawn, parts = any(map(draws_per_row, views.values())), []
        for name, updates in views.items():
            made = selection.made.get((self.path, name))
            factors = None if is_grouped(self.module) else factors_of(self.module, updates, made, Rows(index, groups))
            if factors is None:
                return dense_rows(self.module, views.values(), index, x)
            if drawn and not draws_per_row(updates) and factors.up.dim() > 2:
                factors = factors.rows(index)
            parts.append((factors, next(update.view for update in updates if update)))
        rows = None if drawn else Rows(index, groups)
        linear = bool(parts) and isinstance(self.module, nn.Linear)
        y: Tensor = self.plain(x) if alike is None else alike  # type: ignore[assignment]
        whole = [joined(parts, y.shape[-1])] if linear else [one for one, _ in parts]
        for factors in whole:
            y = beside_rows(self.module, factors, rows, x, y)
        return y

    def _norm_rows(self, states: States, selection: Selection, x: Tensor) -> Tensor:
        """Normalisation in evaluation: the tensors of each row's task."""
        index, held = selection.row_index(x, self.path), norm_held(self.module)
        made = [norm_of(held, state) for state in states]
        rows = {name: torch.stack([one[name] for one in made]).index_select(0, index) for name in held}
        return normalised(self, rows, x)

    def _bound(self, args: tuple, kwargs: dict) -> Arguments:
        """Arguments by their names, as far as the module's forward names them; a single one as it is."""
        if len(args) == 1 and not kwargs:
            return args, kwargs
        found = inspect.signature(type(self.module).forward).bind(self.module, *args, **kwargs).arguments
        named = {name: value for name, value in found.items() if name not in ("self", "args", "kwargs")}
        return found.get("args", ()), {**named, **found.get("kwargs", {})}

    def _split(self, states: States, selection: Selection, args: tuple, kwargs: dict) -> object:
        """Any module, any number of batched arguments: the rows of each task by themselves."""
        args, kwargs = self._bound(args, kwargs)
        self._check_batch_first(kwargs)
        first = _first(args, kwargs)
        index = selection.row_index(first, self.path)
        parts, order = [], []
        for n, (task, state) in enumerate(zip(selection.tasks, states, strict=True)):
            rows = (index == n).nonzero().squeeze(1)
            if not len(rows):
                continue
            mine = {k: v if k == "attn_mask" else tree_map(_taker(rows, len(first)), v) for k, v in kwargs.items()}
            with selecting(alone := selection.of_one(task)):
                parts.append(self._one(state, alone, tree_map(_taker(rows, len(first)), args), mine))
            order.append(rows)
        back = torch.cat(order).argsort()
        return tree_map(lambda *t: torch.cat(t)[back] if isinstance(t[0], Tensor) else t[0], *parts)

    def _check_batch_first(self, kwargs: dict) -> None:
        if not isinstance(self.module, UNITS):
            return
        mask = kwargs.get("attn_mask")
        if not self.module.batch_first or (isinstance(mask, Tensor) and mask.dim() == 3):
            raise ValueError(
                f"layer {self.path!r} cannot serve a mixed batch: it needs batch_first=True and no attention mask per "
                "row; build it so, or run one task at a time"
            )


def _has_bottleneck(update: WeightUpdate) -> bool:
    return isinstance(update.factorisation, Ranked) and update.factorisation.has_bottleneck


def _first(args: tuple, kwargs: dict) -> Tensor:
    return next(value for value in (*args, *kwargs.values()) if isinstance(value, Tensor))


def _taker(rows: Tensor, size: int) -> Callable[[object], object]:
    def take(value: object) -> object:
        return value[rows] if isinstance(value, Tensor) and value.dim() and len(value) == size else value

    return take
