"""The laws of an intervention at one layer."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..interventions import Call, Change, Intervention, Layer, padded, stacked
from ..kinds import LayerKind, Rows, Tensors, kind_of
from ._compare import DOUBLE, check_close, check_same, distance
from ._slopes import check_slopes, toward
from ._subject import floating, without_dropout


def check_intervention(intervention: Intervention, module: nn.Module, tasks: Sequence[Tensors], x: Tensor) -> None:
    """Check that an intervention keeps the laws that models, banks and folding need.

    `works`: each task's tensors fit the layer and change its output; tensors that it can't run with do not
    fit. `inside`: an inner intervention has its effect. `learns`: every tensor that changes the output has a gradient,
    which is the slope of the output (steps left out). `neutral`: neutral tensors leave the layer alone. `served`:
    the reduced tensors, which a bank holds, give the task's output. `rows`: a batch whose rows have tasks of their
    own, one without the intervention among them, is the tasks one by one, in value and in gradient, smaller tensors
    padded, with the layer or an intervention inside. `folded`: the layer with folded tensors is the task, whatever
    else is folded in, or folding is refused in words. `joined`: two that become one give the output of one inside the
    other. No law lets it write to the layer, the tensors or the input.

    All laws run in double precision, in evaluation mode.

    Args:
        intervention: the intervention.
        module: a layer; a copy of it is used.
        tasks: the tensors of two or more tasks, by name.
        x: the layer's input, batch first, with two rows or more.

    Raises:
        AssertionError: a law is broken; the message has law, intervention, layer, place and value found.
        ValueError: there are fewer than two tasks or rows.

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
    values = trial.works, trial.inside, trial.learns, trial.neutral, trial.served
    for law in (*values, trial.rows, trial.folded, trial.joined):
        before = trial.state()
        try:
            law()
            check_same("the layer, the tasks' tensors and the input, written by the law", trial.state(), before)
        except Exception as error:
            where = f"intervention {intervention.name!r}, {trial.kind.words} {type(module).__name__}"
            said = str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
            raise AssertionError(f"law {law.__name__!r}, {where}: {said}") from error


def _double(tensors: Tensors) -> dict[str, Tensor]:
    return {name: floating(tensor.detach().clone()) for name, tensor in tensors.items()}


class _Trial:
    """An intervention at a layer, with tensors of tasks."""

    def __init__(self, intervention: Intervention, kind: LayerKind, tasks: list[dict[str, Tensor]], x: Tensor) -> None:
        self.intervention, self.kind, self.tasks, self.x = intervention, kind, tasks, x
        self.layer = Layer(kind, "layer")
        self.plain = _first(kind.plain(x))
        self.alone: list[Tensor] = []
        own = {name: tensor for name, tensor in kind.tensors().items() if tensor.is_floating_point()}
        self.other = {name: tensor.detach() * 1.25 + 0.1 * tensor.detach().abs() + 0.1 for name, tensor in own.items()}
        self.twin = copy.deepcopy(kind.module)
        for name, tensor in self.other.items():
            owner, _, last = name.rpartition(".")
            getattr(self.twin.get_submodule(owner), last).data.copy_(tensor)

    def state(self) -> dict[str, Tensor]:
        """A copy of everything that must not be written to."""
        tasks = {f"task {n}, {name}": t for n, task in enumerate(self.tasks) for name, t in task.items()}
        held = {**self.kind.module.state_dict(), **tasks, "input": self.x}
        return {name: tensor.detach().clone() for name, tensor in held.items() if isinstance(tensor, Tensor)}

    def run(self, *stack: Tensors, x: Tensor | None = None, call: Call | None = None) -> Tensor:
        """The layer's first output, with the intervention for each set of tensors, innermost first, around `call`."""
        call = self.layer if call is None else call
        for tensors in stack:
            call = self.intervention.bound(tensors, call, self.layer)
        return _first(call(self.x if x is None else x))

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(tensor.shape) for name, tensor in self.tasks[0].items()}

    def louder(self, *args: Any, **kwargs: Any) -> Any:
        """The layer with an outer layer after it."""
        output = self.kind.plain(*args, **kwargs)
        if isinstance(output, Tensor):
            return 1.5 * output + 0.1
        return (1.5 * output[0] + 0.1, *output[1:])

    def works(self) -> None:
        self.alone = [self.run(task) for task in self.tasks]
        for n, task in enumerate(self.tasks):
            assert self.intervention.fits(self.kind, task), f"task {n}: fits() refuses its tensors {self.shapes()}"
            other = self.alone[n - 1] if self.alone[n - 1].shape == self.alone[n].shape else None
            check_close(f"task {n}", self.alone[n], self.alone[n], other, DOUBLE)
            if self.alone[n].shape == self.plain.shape:
                check_close(f"task {n} and the plain layer", self.alone[n], self.alone[n], self.plain, DOUBLE)

            longer = {name: padded(t, tuple(size + 1 for size in t.shape)) for name, t in task.items()}
            if self.intervention.fits(self.kind, longer):
                found = {name: tuple(tensor.shape) for name, tensor in longer.items()}
                try:
                    output = tuple(self.run(longer).shape)
                except Exception as error:
                    raise AssertionError(f"fits() takes tensors {found}, with which the layer can't run") from error
                assert output == self.alone[n].shape, f"fits() takes tensors {found}, and the output is {output}"

    def inside(self) -> None:
        other = Layer(kind_of(self.twin), "layer")
        for n, task in enumerate(self.tasks):
            if self.other:
                found = self.run(task, call=Change().bound(self.other, self.layer, self.layer))
                wanted = _first(self.intervention.bound(task, other, other)(self.x))
                check_close(f"task {n}, around other tensors of the layer", found, wanted, tolerance=DOUBLE)
            if self.intervention.depth > Change.depth:
                found = self.run(task, call=self.louder)
                if found.shape == self.alone[n].shape:
                    check_close(f"task {n}, around something else", found, found, self.alone[n], DOUBLE)

    def learns(self) -> None:
        kept = {name for name, _ in self.kind.module.named_buffers()}
        for n, task in enumerate(self.tasks):
            names = [name for name, t in task.items() if t.is_floating_point() and name not in kept]
            leaves = {name: t.clone().requires_grad_(name in names) for name, t in task.items()}
            output = self.run(leaves)
            found = [None] * len(names)
            if output.requires_grad:
                found = list(
                    torch.autograd.grad((output * toward(output)).sum(), [leaves[k] for k in names], allow_unused=True)
                )
            for name, gradient in zip(names, found, strict=True):
                if gradient is None or not gradient.any():
                    moved = self.run({**task, name: 1.25 * task[name] + 0.1})
                    apart = distance(moved, self.alone[n], DOUBLE) if moved.shape == self.alone[n].shape else torch.inf
                    assert apart < 1, f"task {n}: tensor {name!r} changes the output and has no gradient"
            check_slopes(f"task {n}", self.run, task, names)

    def neutral(self) -> None:
        made = self.intervention.neutral(self.kind, self.shapes())
        for name, shape in self.shapes().items():
            assert name in made, f"neutral tensors lack {name!r}"
            assert tuple(made[name].shape) == shape, f"neutral {name!r} is {tuple(made[name].shape)}, not {shape}"
        found = self.run(made)
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
                self._compare(table, rows, places, given, partial(self.kind.plain))
                if self.intervention.depth > Change.depth:
                    self._compare(table, rows, places, given, self.louder)

    def _compare(self, table: Tensors, rows: Rows, places: tuple[int, ...], given: list[Any], call: Call) -> None:
        around = call if self.intervention.depth > Change.depth else None
        x, twin = (self.x.clone().requires_grad_(self.x.is_floating_point()) for _ in range(2))
        made = _first(self.intervention.rows(table, rows, call, self.layer, (x,), {}))
        single = [
            self.run(*([] if given[at] is None else [given[at]]), x=twin[n : n + 1], call=around)
            for n, at in enumerate(places)
        ]
        for n, at in enumerate(places):
            other = single[n - 1][0] if places[n - 1] != at and single[n - 1].shape == single[n].shape else None
            check_close(f"row {n}, of task {at}", made[n], single[n][0], other, DOUBLE)
        wanted = [tensor for mine in given for tensor in (mine or {}).values() if tensor.requires_grad]
        ahead = toward(made)
        mine = _gradients((made * ahead).sum(), [*wanted, x])
        theirs = _gradients((torch.cat(single) * ahead).sum(), [*wanted, twin])
        for n, (one, two) in enumerate(zip(mine, theirs, strict=True)):
            check_close(f"gradient {n} of a mixed batch", one, two, tolerance=DOUBLE)

    def folded(self) -> None:
        own = self.kind.tensors()
        for n, task in enumerate(self.tasks):
            for inside, what in ((own, ""), ({**own, **self.other}, " into other tensors of the layer")):
                try:
                    made = self.intervention.folded(self.kind, task, inside)
                except ValueError as refusal:
                    if not str(refusal):
                        raise AssertionError(f"task {n}: folding is refused without a word") from refusal
                    return
                odd = sorted(made.keys() - own.keys() - {"bias"})
                assert not odd, f"task {n}, folded{what}, holds {odd[0]!r}, which the layer does not"
                found = _first(self.kind.run((self.x,), {}, {**inside, **made} if what else made))
                call = Change().bound(self.other, self.layer, self.layer) if what else self.layer
                wanted = self.run(task, call=call)
                check_close(f"task {n}, folded{what}", found, wanted, None if what else self.plain, DOUBLE)

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
