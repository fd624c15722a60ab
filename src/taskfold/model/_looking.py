"""Keeps what is known of the rows of mixed batches on a backbone."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..kinds import Rows
from ..layers import (
    Calls,
    Guard,
    Hooks,
    OfTasks,
    Places,
    Seen,
    Selection,
    Unmoved,
    are,
    as_traced,
    follow,
    hearing,
    in_vmap,
    sites_of,
    skeleton,
    unseen,
)
from ._kept import Beside, Kept, generators, own_state
from ._known import Known, agreed
from ._look import looked_for
from ._prompts import prompts
from ._rows import Batch
from ._separate import check_cut
from ._standing import Standing

FORMS = 256
"""Most forms of inputs that are kept."""
VARIANTS = 8
"""Most paths of each form that are kept."""
NEEDED = "the network runs only with its hooks"


class Looking(Standing):
    """Skeletons, with the layouts of rows found on them."""

    looking: threading.Lock
    kept: Kept

    def _forget_rows(self) -> None:
        self.forms: dict[object, tuple[Known, ...]] = {}
        """`Known` of mixed batches by form of the input: one for each path, the latest first."""
        self.equal: dict[object, dict[object, tuple[Known, ...]]] = {}
        """The same for batches with equal rows, by which rows are equal; used until a batch has distinct rows."""
        self.steps: dict[object, dict[object, tuple[Known, ...]]] = {}
        """The same for steps of texts after the first, by the selection's way and the step's kind."""
        self.agreed: Mapping[str, Seen] = {}
        """The layouts by layer that all forms agree on, for tracing."""
        self.plain: dict[bool, nn.Module] = {}
        """Quiet skeletons on which rows are located, by mode."""
        self.hearing: dict[bool, nn.Module] = {}
        """Skeletons on which the user's hooks are observed, by mode."""
        self.hooks_seen: Hooks = ()
        """The hooks that ran when rows were located."""

    def known(
        self,
        batch: Batch,
        method: str,
        training: bool,
        taken: tuple[Any, ...] = (),
        *,
        traced: bool = False,
        hooks: Hooks | None = None,
        around: frozenset[str] = frozenset(),
    ) -> Known:
        """The findings about batches of this form; rows are located once.

        Args:
            batch: the inputs.
            method: the backbone's method that runs.
            training: the mode.
            taken: the numbers that the batch's pass has read so far.
            traced: a compiler traces the pass, and the network may depend on that.
            hooks: the hooks that also run when rows are located; None: the registered ones.
            around: paths with an `around` intervention, where the layer may take another path.
        """
        key = (method, training, traced, around, batch.key)
        seen = self.hooks.now()[1] if hooks is None else hooks
        if not are(seen, self.hooks_seen):
            self._forget_rows()
            self.hooks_seen = seen

        def kept() -> Known | None:
            found = self.forms.get(key, ())
            if not found and key in self.equal:
                found = self.equal[key].get(batch.alike(), ())
            return next((one for one in found if one.decisions[: len(taken)] == taken), None)

        if (known := kept()) is not None:
            return known
        if any(isinstance(leaf, Tensor) and in_vmap(leaf) for leaf in batch.leaves):
            raise ValueError(
                "torch.vmap around a mixed batch that has never run: nobody can look there which rows layers see; run "
                "one of the batches by itself before, or torch.vmap over batches of a single task"
            )
        with self.looking:
            if (known := kept()) is not None:
                return known
            inputs = self._inputs(batch, method)
            with (
                unseen(),
                Guard(self.backbone, training, quiet=True),
                self.kept.looking(training) as reads,
                as_traced() if traced else nullcontext(),
            ):
                plain = self._plain(training)
                for site in (sites := sites_of(plain)):
                    site.before = site.path in around
                with Calls(sites, plain, self.kept.asked) as calls:
                    known = self._looked_for(plain, inputs, training)
                if known.trouble or known.hooked:
                    reads.passes.clear()  # the passes did not all run to their end
                else:
                    self.kept.calls(training, known.once, calls)
            if known.lasting:
                _keep(self.forms, key, known)
                self.agreed = agreed(one for each in self.forms.values() for one in each)
            elif known.equal:
                _keep(self.equal.setdefault(key, {}), batch.alike(), known)
            return known

    def _inputs(self, batch: Batch, method: str) -> Batch:
        """The inputs of the forward pass that is looked at."""
        return (batch if method == "__call__" else prompts(self.backbone, batch)).unwrapped()

    def _looked_for(self, plain: nn.Module, batch: Batch, training: bool) -> Known:
        """Locates rows; with the user's hooks if the network fails without them, or goes by what they have kept."""
        hooks = self.hooks.now()[0]
        try:
            found = looked_for(plain, batch, training)
            if not hooks or not (found.trouble or any(one is None or one.axis is None for one in found.outputs)):
                return found
        except Exception:
            if not hooks:
                raise
        with own_state(self.backbone):
            found = looked_for(self._made(training, quiet=True, hooked=True), batch, training=True)
        return replace(found, hooks=hooks, hooked=NEEDED, under=found, lasting=False)

    def _plain(self, training: bool) -> nn.Module:
        if training not in self.plain:
            self.plain[training] = self._quiet(training)
        return self.plain[training]

    def heard(self, training: bool) -> nn.Module:
        """The skeleton for mixed batches while the user has hooks registered."""
        if training not in self.hearing:
            self.hearing[training] = self._made(training, heard=True)
        return self.hearing[training]

    def hearing_hooks(self, training: bool) -> hearing:
        """Observes the hooks of a mixed pass."""
        assert self.watch is not None
        mode = self.moving(training)
        views = [self.heard(mode), *self.plain.values()]
        return hearing(Places(self.backbone, self.watch.switches, views))

    def cut_by(self, rows: Rows, batch: Batch, known: Known, method: str, training: bool, hooked: bool) -> Known:
        """The findings about a batch that runs task by task; `hooked`: hooks run that change their arguments.

        Raises:
            ValueError: these hooks mix rows, or the output of a task's rows depends on the other rows.
        """
        if not (hooked or known.chosen):
            return known
        name, batch = type(self.backbone).__name__, self._inputs(batch, method)
        with self.looking, unseen(), Guard(self.backbone, training, quiet=True), generators(), own_state(self.backbone):
            network = self._made(training, quiet=True, hooked=True) if hooked else self._plain(training)
            if hooked:
                if (found := known.under) is None:
                    found = looked_for(network, batch, training=True)  # without randomness, which hooks may use
                    known.under = found if found.lasting else None
                if found.trouble:
                    raise ValueError(
                        f"{name} can't answer a mixed batch while {known.hooked}: {found.trouble}; run one task at a "
                        "time, or let the hook change each row by itself"
                    )
                known = found
            if known.chosen:
                with Unmoved((1.0,)) as chance:  # without dropout
                    check_cut(network, batch, rows, known, name)
                if chance.drew:
                    check_cut(network, batch, rows, known, name)
        return known

    def keeps(
        self, method: str, training: bool, paths: Collection[str], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> bool:
        """Whether passes of tasks that change these layers go on from what the last one has left, or are refused."""
        plain = Selection(OfTasks(()), None, training)
        Beside(self.kept, plain, training, lambda clear: self._beside(training, clear), args, kwargs, method).look()
        return self.kept.goes_on or self.kept.outside or not self.kept.refused.keys().isdisjoint(paths)

    def _quiet(self, training: bool) -> nn.Module:
        return self._made(training, quiet=True)

    def _made(self, training: bool, **way: bool) -> nn.Module:
        made = skeleton(self.backbone, self.adapted.keys() - self.unlike.keys(), training, held=self.held, **way)
        for path, mode in self.modes.items():
            follow(made, path, mode)
        return made

    @contextmanager
    def _beside(self, training: bool, clear: bool) -> Iterator[nn.Module]:
        with unseen(clear), Guard(self.backbone, training, quiet=True):
            yield self._quiet(training)


def _keep(forms: dict[object, tuple[Known, ...]], key: object, known: Known) -> None:
    while len(forms) >= FORMS:
        forms.pop(next(iter(forms)), None)
    forms[key] = (known, *forms.get(key, ()))[:VARIANTS]


def check_untraced() -> None:
    """Checks that `torch.jit.trace` does not trace the call.

    Raises:
        ValueError: it does.
    """
    if torch.jit.is_tracing():
        raise ValueError(
            "torch.jit.trace (and torch.onnx.export with dynamo=False) can't follow several tasks, since it does not "
            "see which rows are whose; trace model.fold(name) of each task, or write the bank with "
            "taskfold.export.export"
        )
