"""Runs the backbone for the selected tasks, on skeletons."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any
from weakref import ReferenceType, ref

import torch
from torch import Tensor, nn

from ..interventions import Execution
from ..layers import (
    PLAIN,
    Form,
    HookChangesError,
    OfTasks,
    OnPath,
    OtherPathError,
    Plan,
    RowsUnknownError,
    Selection,
    ahead,
    are,
    check_once,
    filed,
    refile,
    selecting,
    telling,
)
from ..tasks import Task
from ._again import Undo, once_more, recomputing
from ._each import Broadcasting
from ._features import keeping, kept_features
from ._handling import Handling
from ._kept import Beside, kept_by
from ._known import Known
from ._looking import check_untraced
from ._moved import moved
from ._rows import Batch
from ._separate import separately, texts
from ._steps import stepped
from ._traced import LOOKING, hooked, keeps_traced, look_traced, report_unused, untraced
from ._writing import StepsUnknownError

PLANS = 64
"""Most sets of tasks whose plans are kept."""
PATHS = 3
"""Most paths of a batch that are tried before its tasks run one by one."""
_NUMBERS = count()


class Runner(Broadcasting):
    """Runs passes of a backbone on its skeletons.

    Skeletons are views of the backbone and no part of the model's state: copies and pickles leave them out.
    """

    def __init__(self, backbone: nn.Module) -> None:
        self.backbone = backbone
        self.adapted: Mapping[str, Form] = {}
        self.training = True
        self.execution: Execution = "auto"
        self.rows: Handling = "checked"
        self.progress = 1.0
        self.forget()

    def forget(self) -> None:
        """Drops the skeletons: the next pass builds new ones."""
        self.number = str(next(_NUMBERS))  # a string, since a compiler may make an int symbolic
        LOOKING[self.number] = self
        self.lock, self.looking = threading.Lock(), threading.Lock()
        self.kept = kept_by(self.backbone)
        self._begin()
        self._clear()

    def _clear(self) -> None:
        self.checked: set[str] = set()
        self._forget_rows()
        self.said = False
        """Whether the warning that tasks run one after another was given."""
        self.plans: dict[tuple[int, ...], tuple[list[ReferenceType[Task]], Plan]] = {}
        self.shares = {}

    def run(self, selection: Selection, args: tuple[Any, ...], kwargs: dict[str, Any], method: str = "__call__") -> Any:
        """Runs a pass; a mixed batch in one pass or task by task.

        Raises:
            ValueError: the inputs can't be cut into rows, the tasks' outputs can't be joined, an adapted layer has
                several places, `torch.jit.trace` traces a mixed batch, or a mixed batch is exported with hooks.
        """
        compiling = torch.compiler.is_compiling()
        if self.watch is None:
            self.network()
        elif not compiling:
            self._notice()
        if self.unlike:
            self._check_alike(selection.answers.paths)
        if self.several:
            check_once(self.backbone, self.several.intersection(selection.answers.paths))
        mixed = selection.rows is not None and selection.answers.paths
        if compiling and mixed and hooked(self.number):
            if torch.compiler.is_exporting():
                raise ValueError(
                    "forward hooks of the backbone can't be exported with several tasks: nobody knows which rows they "
                    "leave where; remove them before"
                )
            return self._untraced(selection, args, kwargs, method)
        if compiling and not torch.compiler.is_exporting() and self._keeps(selection, args, kwargs, method):
            return self._apart(selection, args, kwargs, method)
        if compiling:
            return (self._traced if mixed else self._pass)(selection, args, kwargs, method)
        if mixed:
            check_untraced()
        try:
            return (self._mixed if mixed else self._pass)(selection, args, kwargs, method)
        finally:
            if self.watch is not None:
                self.watch.settle()

    def _keeps(self, selection: Selection, args: tuple[Any, ...], kwargs: dict[str, Any], method: str) -> bool:
        """Whether a pass that a compiler traces goes on from what the last one has left, or is refused."""
        leaves, paths = (*args, *kwargs.values()), tuple(selection.answers.paths)
        if not paths or not all(isinstance(leaf, (Tensor, *PLAIN)) for leaf in leaves):
            return self.kept.goes_on
        mode = self.moving(selection.training)
        return keeps_traced(self.number, method, mode, paths, len(args), tuple(kwargs), *leaves)

    def _traced(self, selection: Selection, args: tuple[Any, ...], kwargs: dict[str, Any], method: str) -> Any:
        """Runs a mixed batch that a compiler traces.

        Raises:
            ValueError: the network is exported, and has never run such a batch.
        """
        rows = selection.rows
        assert rows is not None
        leaves = (*args, *kwargs.values())
        known = torch.compiler.is_exporting() and len(self.agreed) > 0
        if not torch.compiler.is_exporting() and all(isinstance(leaf, (Tensor, *PLAIN)) for leaf in leaves):
            size = rows.size if rows.index is None else rows.index
            known = look_traced(self.number, method, size, selection.training, len(args), tuple(kwargs), *leaves)
        seen = self.agreed
        if self.rows == "checked" and known and not any(seen[p].unknown for p in selection.answers.paths if p in seen):
            return self._pass(replace(selection, seen=seen), args, kwargs, method)
        if torch.compiler.is_exporting():
            raise ValueError(
                "it is not known that all layers see the rows of a mixed batch each by itself: run the examples once "
                "before they are exported; networks whose tasks run one by one can't be exported with several"
            )
        return self._untraced(selection, args, kwargs, method)

    @untraced("the tasks of this batch run one by one, or its inputs are nested")
    def _untraced(self, selection: Selection, args: tuple[Any, ...], kwargs: dict[str, Any], method: str) -> Any:
        return self._mixed(selection, args, kwargs, method)

    @untraced("the network goes on from what its last pass has left, which is each task's own")
    def _apart(self, *given: Any) -> Any:
        return self.run(*given)

    def _mixed(self, selection: Selection, args: tuple[Any, ...], kwargs: dict[str, Any], method: str) -> Any:
        assert selection.rows is not None
        if not selection.rows.size:
            return self._pass(selection.of_one(0), args, kwargs, method)
        batch = Batch.of(args, kwargs, selection.rows.size)
        training, name = self.moving(selection.training), type(self.backbone).__name__
        hooks, others = self.hooks.now()
        before = batch.copied() if hooks or method != "__call__" else batch
        around = selection.answers.around
        known, why = self.known(batch, method, training, hooks=others, around=around), ""
        for _ in range(PATHS):
            if known.trouble:
                raise ValueError(
                    f"{name} can't answer a mixed batch of these inputs: {known.trouble}; run one task at a time"
                )
            why = "rows='separate'" if self.rows == "separate" else known.unknown(selection.answers.paths)
            if hooks and are(hooks, known.hooks):
                why = why or known.hooked
            if why:
                break
            try:
                if known.decisions and method != "__call__":
                    self.check_prompts(batch, known, training)
                return self._at_once(selection, known, args, kwargs, method, hooks=bool(hooks))
            except HookChangesError as error:
                known.hooks, known.hooked, known.under = hooks, str(error), None
                batch, why = before.given_back(batch), known.hooked
                break
            except RowsUnknownError as error:
                known.failed[error.layer], why = error.why, str(error)
                batch = before
                break
            except StepsUnknownError as error:
                known.apart = why = str(error)
                batch = before
                break
            except OtherPathError as error:
                why = str(error)
                known = self.known(batch, method, training, error.taken, hooks=others, around=around)
        if self.rows == "checked" and not self.said:
            self.said = True
            warnings.warn(f"{name} answers mixed batches task by task, which is slower: {why}", stacklevel=8)
        batch = batch.read(known.reading, known.copies)
        hooked = bool(hooks) and are(hooks, known.hooks) and method == "__call__"
        known = self.cut_by(selection.rows, batch, known, method, training, hooked)

        def one(entry: int, mine: tuple[Any, ...], named: dict[str, Any]) -> Any:
            return self._pass(selection.of_one(entry), mine, named, method)

        if method == "__call__":
            return separately(one, batch, selection.rows, known, name)
        return texts(one, batch, selection.rows, self.backbone, name)

    def _at_once(
        self,
        selection: Selection,
        known: Known,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        method: str,
        hooks: bool,
    ) -> Any:
        """Runs all rows in one pass; an error restores statistics and random numbers.

        Raises:
            RowsUnknownError, OtherPathError: `known` does not hold for this batch, or a hook changes its arguments.
        """
        assert selection.rows is not None
        follows = bool(known.decisions) and method == "__call__"
        undo = Undo(selection) if follows or hooks or not known.has_answered(selection) else None
        now = replace(selection, seen=known.layers, multiplied=method != "__call__")
        try:
            on_path = OnPath([(known.decisions, known.each)], selection.rows.size) if follows else nullcontext()
            with (
                self.hearing_hooks(selection.training) if hooks else nullcontext(),
                on_path,
                keeping(None) if follows else nullcontext(),
            ):
                run = partial(self._pass, now, args, kwargs, method, hooks)
                output = run() if method == "__call__" else self.written(run, args, kwargs, known, now)
        except (RowsUnknownError, OtherPathError):
            if undo is not None:
                undo()
            raise
        known.answered_for(selection)
        return output

    def _pass(
        self, selection: Selection, args: tuple[Any, ...], kwargs: dict[str, Any], method: str, hooks: bool = False
    ) -> Any:
        compiling = torch.compiler.is_compiling()
        mode = self.moving(selection.training)
        network = self.heard(mode) if hooks else self.network(mode)
        network = stepped(network) if selection.multiplied else network
        answers = selection.answers
        if not compiling and isinstance(answers, OfTasks):  # a compiler fuses the operations itself
            with torch.set_grad_enabled(torch.is_grad_enabled() and method == "__call__"):
                made = ahead(self.sites, answers.tasks, selection.training)
            answers = OfTasks(answers.tasks, made, answers.plan)
        selection = replace(selection, answers=answers, execution=self.execution, progress=self.progress, left={})
        if isinstance(answers, OfTasks) and answers.plan.looking:
            before = answers.context((*args, *kwargs.values()), replace(selection, training=mode))
            selection = replace(selection, context=before)
        if compiling:
            with selecting(selection):
                return getattr(network, method)(*args, **kwargs)
        beside = Beside(self.kept, selection, mode, lambda clear: self._beside(mode, clear), args, kwargs, method)
        beside.calls()

        def call(network: nn.Module) -> Any:
            again = recomputing() if torch.is_grad_enabled() else nullcontext()
            with selecting(selection), telling(beside), again:
                output = once_more(self.unwritten, selection, getattr(network, method), args, kwargs)
            for task in answers.tasks if isinstance(answers, OfTasks) else ():
                if task.name not in self.checked:
                    self.checked.add(task.name)
                    report_unused(network, task)
            return output

        ordinary = method == "__call__" and selection.spread is None and not hooks
        features = kept_features(self) if ordinary else None
        try:
            return call(network) if features is None else features.run(call, selection, mode, args, kwargs)
        except RuntimeError as error:
            forms = {path: form for path, form in self.adapted.items() if path in answers.paths}
            if words := moved(self.backbone, forms, answers.held(), error):
                raise RuntimeError(words) from error
            raise

    def answers(self, tasks: Sequence[Task]) -> OfTasks:
        """The answers of tasks; a plan is made once for a set of tasks."""
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

    def __getstate__(self) -> dict[str, Any]:
        return {
            "backbone": self.backbone,
            "adapted": self.adapted,
            "training": self.training,
            "execution": self.execution,
            "rows": self.rows,
            "left": filed(self.backbone),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        refile(state["backbone"], state.pop("left"))
        vars(self).update(state)
        self.progress = 1.0
        self.forget()
