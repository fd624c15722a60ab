"""Runs the backbone for the selected tasks, through a skeleton that is built when tasks first adapt a layer."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Collection, Container, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from ._outputs import rows_of
from .layers import (
    PLAIN,
    Execution,
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
    statistics_of,
    worth_sharing,
)
from .tasks import Task


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
        """From now on these modules ask which task they run for."""
        if not self.paths.issuperset(paths):
            before, self.paths = self.paths, self.paths.union(paths)
            try:
                self.renew()
            except TypeError:  # one of them cannot be adapted
                self.paths = before
                raise

    def renew(self) -> None:
        """Build the skeleton anew: the backbone's tensors have moved. Now, so that a compiler finds it ready."""
        self.forget()
        if self.paths:
            self.network()

    def forget(self) -> None:
        """Build the skeleton when next needed."""
        self.lock = threading.Lock()
        self.skeleton: nn.Module | None = None
        self.sites: list[Site] = []
        self.watch: Watch | None = None
        self.checked: set[str] = set()
        self.follow = False
        """Layers have been seen to get rows of the batch."""
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
                    self.sites, self.watch = sites_of(network), Watch(self.backbone)
                    self.skeleton = network
        return network

    def _built(self) -> nn.Module:
        known = {site.path: site.traits for site in self.sites}  # nothing is tried while somebody traces
        network = skeleton(self.backbone, self.paths, known)
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
        made = selection.made
        if not compiling and selection.banked is None:  # a compiler joins the steps itself
            with torch.set_grad_enabled(torch.is_grad_enabled() and method == "__call__"):
                made = ahead(self.sites, selection.tasks)
        sizes: dict[str, set[int]] = {}
        if not compiling and method == "__call__" and selection.rows is not None and not self.follow:
            sizes = _sizes_of_a_row(self._built(), len(selection.rows), args, kwargs)
        selection = replace(selection, execution=self.execution, made=made, sizes=sizes)
        with selecting(selection):
            output = getattr(network, method)(*args, **kwargs)
        if sizes:
            self.follow = True
        for task in () if compiling else selection.tasks:
            if task.name not in self.checked:
                self.checked.add(task.name)
                _report_unused(network, task)
        return output

    def run_each(
        self,
        alone: Sequence[Selection],
        together: Selection,
        changed: Sequence[Container[str]],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> list[Any]:
        """The same batch for each of several tasks: one pass, in which they part at the first layer that differs.

        One after another where that is faster (tasks differ from the first layers on, and there is more than one row),
        while a compiler traces, where layers are recomputed, and where `torch.vmap` cannot follow.

        Args:
            alone: each task by itself.
            together: all of them.
            changed: the modules that each of them changes.
            args, kwargs: the backbone's inputs.
        """

        def one_by_one() -> list[Any]:
            return [self.run(one, args, kwargs) for one in alone]

        training = together.training
        known = self.shares.get(training)
        if len(alone) == 1 or known is False or torch.compiler.is_compiling():
            return one_by_one()
        if torch.is_grad_enabled() and recomputes(self.backbone):
            return one_by_one()
        if rows_of(args, kwargs) > 1 and not worth_sharing(self.backbone, changed):
            return one_by_one()  # with one row calls cost more than numbers
        undo = _Undo(together)
        try:
            found = spread(len(alone), lambda into: self.run(replace(together, spread=into), args, kwargs))
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
        self.forget()


@torch.no_grad()
def _sizes_of_a_row(
    network: nn.Module, rows: int, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, set[int]]:
    """The first axes that sites see of one row of a batch: a table of L positions has L, whatever the batch is.

    Nobody sees that pass: `network` is a skeleton for this alone, without hooks.
    """
    leaves, form = tree_flatten((args, kwargs))
    if not all(isinstance(leaf, (Tensor, *PLAIN)) for leaf in leaves):
        return {}  # a cache of keys and values, say, which would grow
    one = [
        (leaf[:1] if leaf.dim() and len(leaf) == rows else leaf).clone() if isinstance(leaf, Tensor) else leaf
        for leaf in leaves
    ]
    for module in network.eval().modules():
        for hooks in (module._forward_hooks, module._forward_pre_hooks):
            hooks.clear()
    found: dict[str, set[int]] = {}
    devices = {leaf.device for leaf in one if isinstance(leaf, Tensor) and leaf.is_cuda}
    with suppress(Exception), torch.random.fork_rng(list(devices)), selecting(Selection((), None, False, noting=found)):
        args, kwargs = tree_unflatten(one, form)
        network(*args, **kwargs)
        return found
    return {}  # it does not run with one row


class _Undo:
    """What a pass for several tasks writes, and puts back when called: statistics and the state of random numbers."""

    def __init__(self, selection: Selection) -> None:
        tasks = selection.tasks if selection.training else ()
        held = [tensor for task in tasks for tensor in (*task.buffers(), *statistics_of(task).values())]
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
