"""Runs the backbone for the selected tasks, through a skeleton that is built when tasks first adapt a layer."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Collection, Container, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any
from weakref import ReferenceType, ref

import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from ..interventions import Execution
from ..layers import (
    PLAIN,
    OfTasks,
    Plan,
    Selection,
    Site,
    Watch,
    ahead,
    recomputes,
    selecting,
    set_mode,
    sites_of,
    skeleton,
    spread,
    worth_sharing,
)
from ..tasks import Task
from ._outputs import rows_of


@dataclass(frozen=True)
class Pass:
    """A pass, as far as a task's tensors depend on it."""

    training: bool
    progress: float = 1.0


PLANS = 64
"""Sets of tasks whose structure is kept."""
SERVING = Pass(training=False)
"""Evaluation."""


class Runner:
    """A backbone and the skeleton that stands for it.

    The skeleton is a view of the backbone, no part of the model's state: copies and pickles leave it out.
    """

    def __init__(self, backbone: nn.Module) -> None:
        self.backbone = backbone
        self.paths: frozenset[str] = frozenset()
        self.training = True
        self.execution: Execution = "auto"
        self.progress = 1.0
        self.forget()

    def adapt(self, paths: Collection[str]) -> None:
        """From now on these modules ask which task they run for.

        Raises:
            TypeError: one of them can't be adapted.
        """
        with self.lock:
            if not self.paths.issuperset(paths):
                both = self.paths.union(paths)
                self._install(skeleton(self.backbone, both))  # passes under way go on with the one there is
                self.paths = both  # last: if this call is interrupted, the next one builds the skeleton again

    def renew(self) -> None:
        """Build the skeleton anew: the backbone's tensors have moved. Now, so that a compiler finds it ready."""
        self.skeleton = None
        if self.paths:
            self.network()

    def forget(self) -> None:
        """Build the skeleton when next needed."""
        self.lock = threading.Lock()
        self.skeleton: nn.Module | None = None
        self.sites: list[Site] = []
        self.watch: Watch | None = None
        self._clear()

    def _clear(self) -> None:
        """What was found out about the skeleton there was."""
        self.checked: set[str] = set()
        self.sizes: dict[object, dict[str, set[int]]] = {}
        """By form of the input, the first axes that layers see of one row; empty: one row can't be run."""
        self.plans: dict[tuple[int, ...], tuple[list[ReferenceType[Task]], Plan]] = {}
        self.shares: dict[bool, bool] = {}
        """Whether one pass can serve several tasks that differ, in training and not, as far as it is known."""

    def network(self) -> nn.Module:
        if torch.compiler.is_exporting() and not torch.compiler.is_dynamo_compiling():
            return self._built()  # of the tensors that stand for the backbone's while it is traced
        network = self.skeleton
        if network is None:
            with self.lock:
                network = self.skeleton
                if network is None:
                    network = self._built()
                    self._install(network)
        return network

    def _install(self, network: nn.Module) -> None:
        set_mode(network, self.training)
        self._clear()
        self.sites, self.watch = sites_of(network), Watch(self.backbone)
        self.skeleton = network

    def _built(self) -> nn.Module:
        network = skeleton(self.backbone, self.paths)
        set_mode(network, self.training)
        return network

    def train(self, mode: bool) -> None:
        self.training = mode
        if self.skeleton is not None:
            set_mode(self.skeleton, mode)

    def run(self, selection: Selection, args: tuple[Any, ...], kwargs: dict[str, Any], method: str = "__call__") -> Any:
        compiling = torch.compiler.is_compiling()
        if not compiling and self.watch is not None and self.watch.changed():
            self.renew()  # somebody has switched checkpointing on, say
        network = self.network()
        answers = selection.answers
        if not compiling and isinstance(answers, OfTasks):  # a compiler joins the steps itself
            with torch.set_grad_enabled(torch.is_grad_enabled() and method == "__call__"):
                made = ahead(self.sites, answers.tasks, selection.training)
            answers = OfTasks(answers.tasks, made, answers.plan)
        sizes: Sizes = {}
        if not compiling and method == "__call__" and selection.rows is not None:
            sizes = self._sizes(selection.rows.size, args, kwargs)
        selection = replace(selection, answers=answers, execution=self.execution, sizes=sizes, progress=self.progress)
        with selecting(selection):
            output = getattr(network, method)(*args, **kwargs)
        if not compiling and isinstance(answers, OfTasks):
            for task in answers.tasks:
                if task.name not in self.checked:
                    self.checked.add(task.name)
                    _report_unused(network, task)
        return output

    def answers(self, tasks: Sequence[Task]) -> OfTasks:
        """Tasks that a pass is for; what they have at layers side by side is found once for a set of tasks."""
        if torch.compiler.is_compiling():
            return OfTasks(tasks)
        key = tuple(map(id, tasks))
        known = self.plans.get(key)
        if known is not None and [held() for held in known[0]] == [*tasks]:
            return OfTasks(tasks, plan=known[1])
        while len(self.plans) >= PLANS:
            self.plans.pop(next(iter(self.plans)), None)
        made = OfTasks(tasks)
        self.plans[key] = [ref(task) for task in tasks], made.plan
        return made

    def _sizes(self, rows: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Sizes:
        """The first axes that layers see of one row of a batch of this form; asked once for each form."""
        leaves, form = tree_flatten((args, kwargs))
        if not all(isinstance(leaf, (Tensor, *PLAIN)) for leaf in leaves):
            return {}  # a cache of keys and values, say, which would grow
        key = (str(form), *(_form(leaf, rows) for leaf in leaves))
        if key not in self.sizes:
            self.sizes[key] = _sizes_of_a_row(self._built(), rows, leaves, form)
        return self.sizes[key]

    def run_each(
        self,
        together: Selection,
        changed: Sequence[Container[str]],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> list[Any]:
        """The same batch for each of several tasks: one pass, in which they part at the first layer that differs.

        One after another where that is faster (tasks differ from the first layers on, and there is more than one row),
        while a compiler traces, where layers are recomputed, and where `torch.vmap` cannot follow.

        Args:
            together: the pass for all of them.
            changed: the modules that each of them changes.
            args, kwargs: the backbone's inputs.
        """
        count = together.answers.entries()

        def one_by_one() -> list[Any]:
            return [self.run(together.of_one(n), args, kwargs) for n in range(count)]

        training = together.training
        known = self.shares.get(training)
        if count == 1 or known is False or torch.compiler.is_compiling():
            return one_by_one()
        if torch.is_grad_enabled() and recomputes(self.backbone):
            return one_by_one()
        if rows_of(args, kwargs) > 1 and not worth_sharing(self.backbone, changed):
            return one_by_one()  # with one row calls cost more than numbers
        undo = _Undo(together)
        try:
            found = spread(count, lambda into: self.run(replace(together, spread=into), args, kwargs))
            self.shares[training] = True
            return found
        except Exception as error:
            undo()
            found = one_by_one()  # if the input is at fault, this says so
            self.shares[training] = False
            warnings.warn(
                f"{type(self.backbone).__name__} runs tasks one after another, since one pass cannot serve several: "
                f"{error}",
                stacklevel=4,
            )
            return found

    def __getstate__(self) -> dict[str, Any]:
        return {"backbone": self.backbone, "paths": self.paths, "training": self.training, "execution": self.execution}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.progress = 1.0
        self.forget()


Sizes = Mapping[str, Collection[int]]


def _form(leaf: Any, rows: int) -> object:
    """What of an input the sizes depend on."""
    if not isinstance(leaf, Tensor):
        return leaf
    return leaf.shape[1:] if leaf.dim() and len(leaf) == rows else leaf.shape, leaf.dtype


@torch.no_grad()
def _sizes_of_a_row(network: nn.Module, rows: int, leaves: list[Any], form: TreeSpec) -> dict[str, set[int]]:
    """The first axes that sites see of one row of a batch: a table of L positions has L, whatever the batch is.

    Nobody sees that pass: `network` is a skeleton for this alone, without hooks.
    """
    one = [
        (leaf[:1] if leaf.dim() and len(leaf) == rows else leaf).clone() if isinstance(leaf, Tensor) else leaf
        for leaf in leaves
    ]
    for module in network.eval().modules():
        for hooks in (module._forward_hooks, module._forward_pre_hooks):
            hooks.clear()
    found: dict[str, set[int]] = {}
    devices = {leaf.device for leaf in one if isinstance(leaf, Tensor) and leaf.is_cuda}
    noting = Selection(OfTasks(()), None, False, noting=found)
    with suppress(Exception), torch.random.fork_rng(list(devices)), selecting(noting):
        args, kwargs = tree_unflatten(one, form)
        network(*args, **kwargs)
        return found
    return {}  # it does not run with one row


class _Undo:
    """What a pass for several tasks writes, and puts back when called: statistics and the state of random numbers."""

    def __init__(self, selection: Selection) -> None:
        held = selection.answers.written() if selection.training else []
        self.kept = [(tensor, tensor.detach().clone()) for tensor in held]
        self.random = torch.get_rng_state(), torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []

    @torch.no_grad()
    def __call__(self) -> None:
        for tensor, before in self.kept:
            tensor.copy_(before)
        torch.set_rng_state(self.random[0])
        if self.random[1]:
            torch.cuda.set_rng_state_all(self.random[1])


def _report_unused(network: nn.Module, task: Task) -> None:
    """A task that adapts layers which a forward pass never calls would be a silent no-op."""
    unused = [path for path in task.sites if not network.get_submodule(path).__dict__["forward"].ran]
    if unused:
        warnings.warn(
            f"task {task.name!r} adapts {len(unused)} layers that this forward pass never called, to no effect: "
            f"{', '.join(unused[:5])}; leave them out with targets=('*', '!{unused[0]}')",
            stacklevel=6,
        )
