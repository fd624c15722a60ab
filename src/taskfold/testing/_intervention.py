"""The laws of an intervention at one layer."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..interventions import Call, Intervention, Layer, stacked
from ..kinds import LayerKind, Rows, Tensors, kind_of
from ._compare import DOUBLE, check_close
from ._subject import floating, without_dropout


def check_intervention(intervention: Intervention, module: nn.Module, tasks: Sequence[Tensors], x: Tensor) -> None:
    """Try an intervention at a layer: whether it keeps what models, banks and folding ask of it.

    `works`: each task's tensors fit the layer and change what it puts out. `neutral`: neutral tensors leave it alone.
    `served`: the fewest tensors, which a bank holds, say what the task says. `rows`: a batch whose rows have tasks of
    their own, one without the intervention among them, is the tasks one by one, in value and in gradient, smaller
    tensors padded. `folded`: the layer with folded tensors is the task, or folding is refused in words. `joined`: two
    that become one say what one inside the other says.

    All is tried in double precision, in evaluation.

    Args:
        intervention: what is tried.
        module: a layer; a copy of it is used.
        tasks: for two tasks or more their tensors by name.
        x: the layer's input, batch first, with two rows or more.

    Raises:
        AssertionError: a law is broken; it names the law, the intervention, the layer, the place and the value found.
        ValueError: fewer than two tasks or rows.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from taskfold.interventions import Beside
        >>> tasks = [{"up": torch.randn(5, r), "down": torch.randn(r, 4)} for r in (1, 2)]
        >>> check_intervention(Beside(), nn.Linear(4, 5), tasks, torch.randn(3, 4))
    """
    if len(tasks) < 2 or len(x) < 2:
        raise ValueError(f"the laws need two tasks and two rows or more, found {len(tasks)} and {len(x)}")
    layer = without_dropout(copy.deepcopy(module)).requires_grad_(False).double().eval()
    trial = _Trial(intervention, kind_of(layer), [_double(task) for task in tasks], floating(x))
    for law in (trial.works, trial.neutral, trial.served, trial.rows, trial.folded, trial.joined):
        try:
            law()
        except AssertionError as error:
            where = f"intervention {intervention.name!r}, {trial.kind.words} {type(module).__name__}"
            raise AssertionError(f"law {law.__name__!r}, {where}: {error}") from error


def _double(tensors: Tensors) -> dict[str, Tensor]:
    return {name: floating(tensor.detach().clone()) for name, tensor in tensors.items()}


class _Trial:
    """An intervention at a layer, and tensors of tasks."""

    def __init__(self, intervention: Intervention, kind: LayerKind, tasks: list[dict[str, Tensor]], x: Tensor) -> None:
        self.intervention, self.kind, self.tasks, self.x = intervention, kind, tasks, x
        self.layer = Layer(kind, "layer")
        self.plain = _first(kind.plain(x))
        self.alone = [self.run(task) for task in tasks]

    def run(self, *stack: Tensors, x: Tensor | None = None) -> Tensor:
        """The layer's first output, with the intervention once for each of these, inside out."""
        call: Call = self.layer
        for tensors in stack:
            call = self.intervention.bound(tensors, call, self.layer)
        return _first(call(self.x if x is None else x))

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(tensor.shape) for name, tensor in self.tasks[0].items()}

    def works(self) -> None:
        for n, task in enumerate(self.tasks):
            assert self.intervention.fits(self.kind, task), f"task {n}: fits() refuses its tensors {self.shapes()}"
            other = self.alone[n - 1] if self.alone[n - 1].shape == self.alone[n].shape else None
            check_close(f"task {n}", self.alone[n], self.alone[n], other, DOUBLE)
            if self.alone[n].shape == self.plain.shape:
                check_close(f"task {n} and the plain layer", self.alone[n], self.alone[n], self.plain, DOUBLE)

    def neutral(self) -> None:
        found = self.run(self.intervention.neutral(self.kind, self.shapes()))
        check_close("neutral tensors", found, self.plain, self.alone[0], DOUBLE)

    def served(self) -> None:
        for n, task in enumerate(self.tasks):
            found = self.run(self.intervention.served(self.kind, task))
            check_close(f"task {n}, served", found, self.alone[n], self.plain, DOUBLE)

    def rows(self) -> None:
        for each in (self.tasks, [*self.tasks, None]):
            leaves = [{k: t.clone().requires_grad_(t.is_floating_point()) for k, t in (e or {}).items()} for e in each]
            given = [None if task is None else mine for task, mine in zip(each, leaves, strict=True)]
            table = stacked(self.intervention, self.kind, given)
            if table is None or not self.intervention.goes_by_rows(self.kind, frozenset(table), False):
                continue
            places = tuple(n % len(each) for n in range(len(self.x), 0, -1))
            for gathers in (False, True):
                rows = Rows(len(places), torch.tensor(places), places=places, gathers=gathers)
                self._compare(table, rows, places, given)

    def _compare(self, table: Tensors, rows: Rows, places: tuple[int, ...], given: list[Any]) -> None:
        call = partial(self.kind.plain)
        x, twin = (self.x.clone().requires_grad_(self.x.is_floating_point()) for _ in range(2))
        made = _first(self.intervention.rows(table, rows, call, self.layer, (x,), {}))
        single = [
            self.kind_plain(twin[n : n + 1]) if given[at] is None else self.run(given[at], x=twin[n : n + 1])
            for n, at in enumerate(places)
        ]
        for n, at in enumerate(places):
            other = single[n - 1][0] if places[n - 1] != at and single[n - 1].shape == single[n].shape else None
            check_close(f"row {n}, of task {at}", made[n], single[n][0], other, DOUBLE)
        wanted = [tensor for mine in given for tensor in (mine or {}).values() if tensor.requires_grad]
        toward = torch.linspace(-1, 1, made.numel(), dtype=made.dtype).sin().reshape(made.shape)
        mine = _gradients((made * toward).sum(), [*wanted, x])
        theirs = _gradients((torch.cat(single) * toward).sum(), [*wanted, twin])
        for n, (one, two) in enumerate(zip(mine, theirs, strict=True)):
            check_close(f"gradient {n} of a mixed batch", one, two, tolerance=DOUBLE)

    def kind_plain(self, x: Tensor) -> Tensor:
        return _first(self.kind.plain(x))

    def folded(self) -> None:
        for n, task in enumerate(self.tasks):
            try:
                made = self.intervention.folded(self.kind, task, self.kind.tensors())
            except ValueError as refusal:
                if not str(refusal):
                    raise AssertionError(f"task {n}: folding is refused without a word") from refusal
                return
            found = _first(self.kind.run((self.x,), {}, made))
            check_close(f"task {n}, folded", found, self.alone[n], self.plain, DOUBLE)

    def joined(self) -> None:
        inner, outer, *_ = self.tasks
        one = self.intervention.joined(self.kind, inner, outer)
        if one is not None:
            check_close("two as one", self.run(one), self.run(inner, outer), self.plain, DOUBLE)


def _first(output: Any) -> Tensor:
    return output if isinstance(output, Tensor) else output[0]


def _gradients(loss: Tensor, leaves: list[Tensor]) -> list[Tensor]:
    tensors = [leaf for leaf in leaves if leaf.requires_grad]
    found = torch.autograd.grad(loss, tensors, allow_unused=True, retain_graph=True)
    return [torch.zeros_like(leaf) if g is None else g for leaf, g in zip(tensors, found, strict=True)]
