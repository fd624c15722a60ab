"""MultiTask: one frozen backbone, many tasks."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from ..interventions import Execution, check_execution
from ..kinds import Rows, kind_of
from ..layers import OfTasks, Selection, begun, parts_of
from ..methods import Method
from ..tasks import Features, Task, pooled
from ._bank import Bank
from ._caches import broadcast_with_caches, with_caches
from ._counts import outlined
from ._exchange import Exchange
from ._folding import changed_tensors, folded, leave_out, left_out, without_batchnorm
from ._handling import Handling, MixedRows
from ._outputs import (
    Outputs,
    batched,
    check_generates,
    names_of_all,
    names_of_any,
    names_of_rows,
    of_one_network,
    outputs_of_rows,
)
from ._said import in_type, output_of
from ._summary import Summary, summarised
from ._view import Folded, TaskView, put_into_mode


class MultiTask(MixedRows, Exchange):
    """One frozen backbone, many tasks.

    The model never writes the backbone: neither weights nor running statistics, in training mode neither. It sets the
    parameters to require no gradients. A task holds its own update, normalisation and head.

    Args:
        backbone: any module; heads take its output, or the result of `features`.
        method: the default method of tasks.
        features: output of the backbone → `[B, F]` features for the heads. Default: a tensor unchanged, or a Hugging
            Face output's `pooler_output`.
        num_features: F, for `head=<number>`; default: as the backbone states (timm, Hugging Face).
        rows: how a mixed batch is answered. `checked`: in one pass, if it is known which rows every adapted layer sees
            (found once for each form of input), else task by task, with one warning. `separate`: always task by task.
        execution: how layers run their updates: `auto` (the cheapest form for the layer and the batch), `factored`,
            `merged` or `materialised`, or `{layer pattern: one of these}`. The value is the same.

    Raises:
        TypeError: the backbone is no module, or the method no method.
        ValueError: `execution` or `rows` is unknown.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import taskfold as tfold
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> model = tfold.MultiTask(net, tfold.FTN(rank=2, norm=False), num_features=8)
        >>> _ = model.add_task("flowers", head=5)
        >>> _ = model.add_task("cars", head=7, rank=4)
        >>> x = torch.randn(3, 3, 16, 16)
        >>> model(x, task="flowers").shape
        torch.Size([3, 5])
        >>> [tuple(y.shape) for y in model(x, task=["cars", "flowers", "cars"])]
        [(7,), (5,), (7,)]
    """

    def __init__(
        self,
        backbone: nn.Module,
        method: Method | None = None,
        *,
        features: Features | None = None,
        num_features: int | None = None,
        execution: Execution = "auto",
        rows: Handling = "checked",
    ) -> None:
        super().__init__(backbone, method, features=features, num_features=num_features)
        self.execution = execution
        self.rows = rows

    @property
    def execution(self) -> Execution:
        """How layers run their updates; it may be set at any time."""
        return self._runner.execution

    @execution.setter
    def execution(self, execution: Execution) -> None:
        check_execution(execution)
        self._runner.execution = execution

    @property
    def progress(self) -> float:
        """Progress of the training, from 0 to 1; 1 outside of training, and whenever a task is evaluated.

        The trainer sets it before every step, for temperatures and warm-ups inside a forward pass.

        Raises:
            ValueError: it is set to a number outside that range.
        """
        return self._runner.progress

    @progress.setter
    def progress(self, progress: float) -> None:
        if not 0 <= progress <= 1:
            raise ValueError(f"progress must be from 0 to 1, found {progress}")
        self._runner.progress = progress

    # Running

    def forward(
        self,
        *args: Any,
        task: str | Sequence[str],
        broadcast: bool = False,
        _training: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """Runs one task, one task per row of the batch, or several tasks on every row.

        Args:
            args, kwargs: the backbone's inputs, batch first.
            task: a name; or a list of names, one per row.
            broadcast: each task in the list sees the whole batch. The layers before the first one that a task changes
                run once; tasks with identical backbones (common weights, own heads) share one pass.

        Returns:
            For a name, the task's output, `[B, outputs]`. For a list, a list with the output of each row (heads may
            differ in size), or the backbone's output if no task has a head. With `broadcast`, a dict with the output
            of each task by name.

        Raises:
            ValueError: a task is unknown, the numbers of names and rows differ, or a broadcast names one twice.
            TypeError: `broadcast` without a list.
        """
        training = self.training if _training is None else _training
        if broadcast:
            return self._broadcast(names_of_all(task), args, kwargs, training)
        names, selection = self._selected(task, args, kwargs, training)
        if not selection.answers.entries() and any(self.tasks[name].head is not None for name in self.tasks):
            return Outputs([], {})
        output = with_caches(task, self.backbone, args, kwargs, lambda: self._runner.run(selection, args, kwargs))
        tasks = self._tasks(selection)
        if not [one for one in tasks if one.head is not None]:
            return output
        features, training = self.features(output), self._runner.moving(training)
        if isinstance(task, str):
            return output_of(tasks[0], features, training)
        rows = selection.rows or Rows.side_by_side(1, len(names))
        return outputs_of_rows(names, tasks, rows, features, training)

    def _broadcast(
        self, names: Sequence[str], args: tuple[Any, ...], kwargs: dict[str, Any], training: bool
    ) -> dict[str, Any]:
        outputs: dict[str, Any] = {}
        groups = list(of_one_network([self[name] for name in names]))
        tasks = [group[0] for group in groups]
        answers = self._runner.answers(tasks)
        together, training = Selection(answers, None, training), self._runner.moving(training)
        run = partial(self._runner.run_each, together, [answers.apart()], args, kwargs)
        found = broadcast_with_caches([[one.name for one in each] for each in groups], self.backbone, args, kwargs, run)
        for group, output in zip(groups, found, strict=True):
            features = output if all(task.head is None for task in group) else self.features(output)
            outputs |= {
                task.name: output if task.head is None else output_of(task, features, training) for task in group
            }
        return {name: outputs[name] for name in names}

    def generate(self, *args: Any, task: str | Sequence[str], _training: bool | None = None, **kwargs: Any) -> Any:
        """Runs the backbone's own `generate` (Hugging Face language models) for one task, or one task per row.

        Args:
            args, kwargs: as the backbone's `generate` takes them, beams included.
            task: a name; or a list of names, one per row of the input.

        Raises:
            TypeError: the backbone has no `generate`.
            ValueError: as for `forward`.
        """
        check_generates(self.backbone, task, kwargs)
        selection = self._selected(task, args, kwargs, self.training if _training is None else _training)[1]
        run = partial(self._runner.run, selection, args, kwargs, "generate")
        return with_caches(task, self.backbone, args, kwargs, run)

    def _selected(
        self, task: str | Sequence[str], args: tuple[Any, ...], kwargs: Mapping[str, Any], training: bool
    ) -> tuple[Sequence[str], Selection]:
        """The task of each row, and their selection; a single task serves every row."""
        if isinstance(task, str):
            return (), Selection(self._runner.answers((self[task],)), None, training)
        names = names_of_rows(task)
        first = batched(args, kwargs, len(names))
        distinct = {name: n for n, name in enumerate(dict.fromkeys(names))}
        held = self.tasks._modules
        tasks = [held[name] if name in held else self[name] for name in distinct]
        answers = self._runner.answers(tasks)  # type: ignore[arg-type]
        if len(distinct) < 2:
            return names, Selection(answers, None, training)
        places = tuple(map(distinct.__getitem__, names))
        index = None  # a row for each task, in their order
        if len(distinct) < len(names) or torch.compiler.is_compiling():
            index = torch.tensor(places, device=None if first is None else first.device)
        return names, Selection(answers, Rows(len(places), index, places=places), training)

    def _tasks(self, selection: Selection) -> Sequence[Task]:
        assert isinstance(selection.answers, OfTasks)
        return selection.answers.tasks

    def for_task(self, name: str) -> TaskView:
        """One task as a module: `view(x)` is `model(x, task=name)`; its parameters are the task's own.

        A view has the model's mode until `train()` or `eval()` sets its own, which changes no other's.
        """
        return TaskView(self, self[name])

    def bank(self, names: Iterable[str] | None = None) -> Bank:
        """A bank with copies of these tasks (default: all), to serve them in any mixture.

        Raises:
            TypeError: `names` is no collection of names.
            ValueError: a task is unknown, or a bank does not support it.
        """
        bank = Bank(self.backbone, features=self.features, rows=self.rows)
        for name in self.tasks if names is None else names_of_any(names):
            bank.add(self[name])
        return bank

    def train(self, mode: bool = True) -> MultiTask:
        """Sets the mode of the tasks, and of dropout in the backbone; the backbone's BatchNorm never trains."""
        self.training = mode
        put_into_mode(self.tasks, mode)
        self._runner.train(mode)
        return self

    # Looking

    def summary(self, name: str) -> Summary:
        """The layers that a task adapts, by block, and why it leaves others alone; `print` shows a table.

        Raises:
            ValueError: there is no such task.

        Example:
            >>> import taskfold as tfold
            >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8))
            >>> model = tfold.MultiTask(net, tfold.LoRA(rank=1, targets="2"), num_features=8)
            >>> _ = model.add_task("flowers", head=3)
            >>> print(model.summary("flowers"))
            task 'flowers' (lora) on Sequential: adapts layers with 72 of 112 parameters (64.3%) by 16 numbers of its \
own, and has a head of 27
            block  layers            parameters  of the task  adapted
            0      1 × linear layer          40            0  no: targets leave it out
            2      1 × linear layer          72           16  beside
        """
        return summarised(self.backbone, self[name])

    def __repr__(self) -> str:
        """The backbone's class and size, and each task with its method, numbers and outputs; at most ten of them."""
        size, lines = outlined(self.backbone, self.tasks, lambda name: f"{name!r}: {self.tasks[name].in_short()}")
        return f"MultiTask({size}" + "".join(f"\n  {line}" for line in lines) + ("\n)" if lines else ")")

    # Folding

    def foldable(self, name: str) -> bool:
        """Whether a plain network of the backbone's architecture can equal a task; `fold` refuses otherwise.

        Raises:
            ValueError: there is no such task.
        """
        kinds = {path: kind_of(self.backbone.get_submodule(path)) for path in self[name].sites}
        return all(part.intervention.folds(kinds[path]) for (path, _), part in parts_of(self[name]))

    @torch.no_grad()
    def materialise(self, name: str) -> dict[str, Tensor]:
        """The backbone's tensors that a task changes, in evaluation, by name.

        Raises:
            ValueError: there is no such task, or an intervention at a layer does not change tensors.
        """
        task = self[name]
        changed = self._changed(task)
        if skipped := left_out(self.backbone, task):
            raise ValueError(
                f"task {name!r}, layer {next(iter(skipped))!r}: the task leaves it out, which no tensors do; fold() "
                "does"
            )
        return changed

    def _changed(self, task: Task) -> dict[str, Tensor]:
        try:
            return changed_tensors(self.backbone, task)
        except ValueError as error:
            raise ValueError(f"task {task.name!r}, {error}") from None

    @torch.no_grad()
    def fold(self, name: str, *, head: bool = True, fuse_batchnorm: bool = False) -> nn.Module:
        """A task as a plain network without Taskfold: the backbone's own architecture, and the task's head.

        Layers with a shared weight get separate ones if the task makes them differ. Skipped blocks are left out.

        Args:
            name: the task.
            head: include the task's head: the result has `backbone` and `head`, and takes the backbone's arguments
                (attention masks, keywords); it is an `nn.Sequential` if the backbone takes one tensor.
            fuse_batchnorm: fuse BatchNorm into the convolution before it, for serving alone.

        Raises:
            ValueError: there is no such task; or BatchNorm can't be fused, since the network has none or the order of
                its layers can't be traced.
        """
        task = self[name]
        plain = folded(self.backbone, self._changed(task), begun(self._runner.network(False)))
        leave_out(plain, left_out(self.backbone, task))
        if fuse_batchnorm:
            without_batchnorm(plain.eval())
        for parameter in plain.parameters():
            parameter.requires_grad_(parameter.is_floating_point())
        plain.train(self.training)
        if task.head is None or not head:
            return plain
        behind = in_type(copy.deepcopy(task.head), plain)
        made: nn.Module = Folded(plain, self.features, behind)
        one = [given.kind is given.POSITIONAL_OR_KEYWORD for given in signature(plain.forward).parameters.values()]
        if one == [True] and self.features is pooled and not hasattr(plain, "config"):
            made = nn.Sequential(OrderedDict(backbone=plain, head=behind))
        return made.train(self.training)
