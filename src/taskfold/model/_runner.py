"""Runs the backbone for the selected tasks, through skeletons that are built when tasks first adapt a layer."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Container, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import count
from typing import Any
from weakref import ReferenceType, WeakValueDictionary, ref

import torch
from torch import Tensor, nn

from ..interventions import Execution
from ..layers import (
    PLAIN,
    OfTasks,
    Plan,
    RowsUnknownError,
    Seen,
    Selection,
    ahead,
    check_once,
    recomputes,
    selecting,
    skeleton,
    spread,
    worth_sharing,
)
from ..tasks import Task
from ._again import Written, recomputing
from ._handling import Handling
from ._moved import moved
from ._outputs import rows_of
from ._rows import Batch, Known, agreed, looked_for, padding_of, prompts
from ._separate import check_cut, separately, texts
from ._standing import Standing


@dataclass(frozen=True)
class Pass:
    """A pass, as far as a task's tensors depend on it."""

    training: bool
    progress: float = 1.0


PLANS = 64
"""Sets of tasks whose structure is kept."""
FORMS = 256
"""Forms of inputs of which it is kept what is known."""
_NUMBERS = count()
_RUNNERS: WeakValueDictionary[int, Runner] = WeakValueDictionary()
"""By number: a compiler hands on numbers, and no objects."""
SERVING = Pass(training=False)
"""Evaluation."""


class Runner(Standing):
    """A backbone and the skeletons that stand for it.

    They are views of the backbone, no part of the model's state: copies and pickles leave them out.
    """

    def __init__(self, backbone: nn.Module) -> None:
        self.backbone = backbone
        self.paths: frozenset[str] = frozenset()
        self.training = True
        self.execution: Execution = "auto"
        self.rows: Handling = "checked"
        self.progress = 1.0
        self.forget()

    def forget(self) -> None:
        """Build the skeletons when next needed."""
        self.number = next(_NUMBERS)
        _RUNNERS[self.number] = self
        self.lock, self.looking = threading.Lock(), threading.Lock()
        self._begin()
        self._clear()

    def _clear(self) -> None:
        """What was found out about the skeletons there were."""
        self.checked: set[str] = set()
        self.forms: dict[object, Known] = {}
        """What is known of mixed batches, by form of the input."""
        self.agreed: Mapping[str, Seen] = {}
        """What all of them agree on, by layer: what may be traced."""
        self.plain: nn.Module | None = None
        """A skeleton on which rows are looked for: nobody listens there."""
        self.said = False
        """Whether somebody has been told that tasks run one after another."""
        self.plans: dict[tuple[int, ...], tuple[list[ReferenceType[Task]], Plan]] = {}
        self.shares: dict[bool, bool] = {}
        """Whether one pass can serve several tasks that differ, in training and not, as far as it is known."""

    def run(self, selection: Selection, args: tuple[Any, ...], kwargs: dict[str, Any], method: str = "__call__") -> Any:
        """A pass; of a batch in which tasks are mixed, in one go or task by task.

        Raises:
            ValueError: the inputs can't be cut into rows, what the tasks put out can't be put together, or a layer that
                they adapt stands in several places.
        """
        compiling = torch.compiler.is_compiling()
        if not compiling and self.watch is not None:
            self._notice()
        if self.several:
            check_once(self.backbone, self.several.intersection(selection.answers.paths))
        if selection.rows is None or not selection.answers.paths:
            return self._pass(selection, args, kwargs, method)
        if compiling:
            return self._traced(selection, args, kwargs, method)
        return self._mixed(selection, args, kwargs, method)

    def _traced(self, selection: Selection, args: tuple[Any, ...], kwargs: dict[str, Any], method: str) -> Any:
        """A mixed batch while somebody traces it.

        Raises:
            ValueError: it is exported, and has never run.
        """
        rows = selection.rows
        assert rows is not None
        leaves = (*args, *kwargs.values())
        known = torch.compiler.is_exporting() and len(self.agreed) > 0
        if not torch.compiler.is_exporting() and all(isinstance(leaf, (Tensor, *PLAIN)) for leaf in leaves):
            size = rows.size if rows.index is None else rows.index
            known = _look(self.number, method, size, len(args), tuple(kwargs), *leaves)
        seen = self.agreed
        if self.rows == "checked" and known and not any(seen[p].unknown for p in selection.answers.paths if p in seen):
            return self._pass(replace(selection, seen=seen), args, kwargs, method)
        if torch.compiler.is_exporting():
            raise ValueError(
                "it is not known that all layers see the rows of a mixed batch each by itself: run the examples once "
                "before they are exported; networks whose tasks run one by one can't be exported with several"
            )
        return self._untraced(selection, args, kwargs, method)

    @torch.compiler.disable(reason="the tasks of this batch run one by one, or its inputs are nested")
    def _untraced(self, selection: Selection, args: tuple[Any, ...], kwargs: dict[str, Any], method: str) -> Any:
        return self._mixed(selection, args, kwargs, method)

    def _mixed(self, selection: Selection, args: tuple[Any, ...], kwargs: dict[str, Any], method: str) -> Any:
        assert selection.rows is not None
        if not selection.rows.size:
            return self._pass(selection.of_one(0), args, kwargs, method)
        batch = Batch.of(args, kwargs, selection.rows.size)
        known = self.known(batch, method)
        name = type(self.backbone).__name__
        if known.trouble:
            raise ValueError(
                f"{name} can't answer a mixed batch of these inputs: {known.trouble}; run one task at a time"
            )
        why = "rows='separate'" if self.rows == "separate" else known.unknown(selection.answers.paths)
        if not why:
            undo = None if known.has_answered(selection) else _Undo(selection)
            now = replace(selection, seen=known.layers, multiplied=method != "__call__")
            try:
                output = self._pass(now, args, kwargs, method)
                known.answered_for(selection)
                return output
            except RowsUnknownError as error:
                if undo is not None:
                    undo()
                known.failed[error.layer] = error.why
                why = str(error)
        if self.rows == "checked" and not self.said:
            self.said = True
            warnings.warn(f"{name} answers mixed batches task by task, which is slower: {why}", stacklevel=6)

        def one(entry: int, mine: tuple[Any, ...], named: dict[str, Any]) -> Any:
            return self._pass(selection.of_one(entry), mine, named, method)

        if known.chosen:
            with self.looking:
                check_cut(self._plain(), batch, selection.rows, known, name)
        if method == "__call__":
            return separately(one, batch, selection.rows, known.outputs, name)
        return texts(one, batch, selection.rows, padding_of(self.backbone, kwargs), name)

    def known(self, batch: Batch, method: str) -> Known:
        """What is known of batches of this form; it is looked for once."""
        key = (method, batch.key)
        if (known := self.forms.get(key)) is not None:
            return known
        with self.looking:
            if (known := self.forms.get(key)) is not None:
                return known
            known = looked_for(self._plain(), batch if method == "__call__" else prompts(self.backbone, batch))
            if known.lasting:
                while len(self.forms) >= FORMS:
                    self.forms.pop(next(iter(self.forms)), None)
                self.forms[key] = known
                self.agreed = agreed(self.forms.values())
            return known

    def _plain(self) -> nn.Module:
        if self.plain is None:
            self.plain = skeleton(self.backbone, self.paths, quiet=True)
        return self.plain

    def _pass(self, selection: Selection, args: tuple[Any, ...], kwargs: dict[str, Any], method: str) -> Any:
        compiling = torch.compiler.is_compiling()
        network = self.network(self.moving(selection.training))
        answers = selection.answers
        if not compiling and isinstance(answers, OfTasks):  # a compiler joins the steps itself
            with torch.set_grad_enabled(torch.is_grad_enabled() and method == "__call__"):
                made = ahead(self.sites, answers.tasks, selection.training)
            answers = OfTasks(answers.tasks, made, answers.plan)
        selection = replace(selection, answers=answers, execution=self.execution, progress=self.progress)
        if compiling:
            with selecting(selection):
                return getattr(network, method)(*args, **kwargs)
        try:
            with selecting(selection), recomputing() if torch.is_grad_enabled() else nullcontext():
                output = self.unwritten.run(selection.training, getattr(network, method), args, kwargs)
        except RuntimeError as error:
            if words := moved(self.backbone, answers.held(), error):
                raise RuntimeError(words) from error
            raise
        if isinstance(answers, OfTasks):
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
        tasks = together.answers.entries()

        def one_by_one() -> list[Any]:
            return [self.run(together.of_one(n), args, kwargs) for n in range(tasks)]

        training = together.training
        known = self.shares.get(training)
        if tasks == 1 or known is False or torch.compiler.is_compiling():
            return one_by_one()
        if torch.is_grad_enabled() and recomputes(self.backbone):
            return one_by_one()
        rows = rows_of(args, kwargs)
        if not rows or (rows > 1 and not worth_sharing(self.backbone, changed)):
            return one_by_one()  # with one row calls cost more than numbers
        undo = _Undo(together)
        try:
            found = spread(tasks, lambda into: self.run(replace(together, spread=into), args, kwargs))
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
        return {
            "backbone": self.backbone,
            "paths": self.paths,
            "training": self.training,
            "execution": self.execution,
            "rows": self.rows,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.progress = 1.0
        self.forget()


@torch.compiler.assume_constant_result
def _look(number: int, method: str, rows: int | Tensor, positional: int, names: tuple[str, ...], *values: Any) -> bool:
    """Looks what layers see of a batch that a compiler traces, which calls this with its numbers and keeps the answer.

    Returns:
        Whether the batch can be answered as one.
    """
    args, kwargs = values[:positional], dict(zip(names, values[positional:], strict=True))
    batch = Batch.of(args, kwargs, len(rows) if isinstance(rows, Tensor) else rows)
    known = _RUNNERS[number].known(batch, method)
    return not (known.trouble or known.chosen)


class _Undo:
    """What a pass for several tasks writes, and puts back when called: statistics and the state of random numbers."""

    def __init__(self, selection: Selection) -> None:
        self.written = Written(selection)
        self.random = torch.get_rng_state(), torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []

    def __call__(self) -> None:
        self.written.put_back()
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
