"""Banks: many tasks as rows of one table, for batches of any mixture."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any
from weakref import ReferenceType, WeakSet, ref

import torch
from torch import Tensor, nn

from ..kinds import LayerKind, Rows, kind_of
from ..layers import (
    SERVING,
    OfTable,
    Selection,
    Stack,
    check_unwritten,
    forms_of,
    layers_of,
    module_at,
    stack_of,
    worth_sharing,
)
from ..refusals import UnfitError
from ..tasks import Features, Task, pooled
from ._asked import index_of, places_of, rows_at
from ._caches import broadcast_with_caches, with_caches
from ._counts import outlined
from ._each import own_inputs
from ._handling import Handling, MixedRows
from ._heads import Heads
from ._kept import own_state
from ._outputs import Outputs, batched, check_generates, names_of_all, names_of_any, names_of_rows, rows_of
from ._repeated import of_rows_alone, parted, repeated
from ._rows import Batch
from ._runner import Runner
from ._table import Table, widest


class Bank(MixedRows, nn.Module):
    """Tasks of one backbone for serving: one row of numbers for each, and no modules.

    A mixed batch costs one gather and one forward pass, whatever the mixture. No code loops over tasks, so that one
    compiled or exported graph serves every mixture. The bank holds copies of tasks, which do not train.

    Threads may run passes while others add and remove tasks: a pass sees the bank before or after a change, never
    during it. A change that fails leaves the bank unchanged.

    Args:
        backbone: the network that the tasks were made for; it does not change.
        features: as for `MultiTask`.
        rows: as for `MultiTask`.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import taskfold as tfold
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> model = tfold.MultiTask(net, tfold.FTN(rank=2, norm=False), num_features=8).eval()
        >>> for name, outputs in {"flowers": 5, "cars": 7}.items():
        ...     _ = model.add_task(name, head=outputs)
        >>> bank = model.bank()
        >>> x = torch.randn(3, 3, 16, 16)
        >>> bank(x, bank.index(["cars", "flowers", "cars"])).shape  # to the larger head's size
        torch.Size([3, 7])
        >>> [tuple(y.shape) for y in bank(x, task=["cars", "flowers", "cars"])]
        [(7,), (5,), (7,)]
    """

    table: Table

    def __init__(self, backbone: nn.Module, *, features: Features | None = None, rows: Handling = "checked") -> None:
        super().__init__()
        check_unwritten(backbone)
        self.backbone = backbone.requires_grad_(False)
        self.features: Features = features or pooled
        self._runner = Runner(backbone)
        self._runner.train(False)
        self.rows = rows
        self._kinds: dict[str, LayerKind] = {}
        self._beside = True
        like = widest(backbone)
        self.table = Table(like.new_zeros(0, 0), like.new_zeros(0, 0, dtype=torch.uint8), Heads.none(like))
        self._changing = threading.RLock()
        self._older: list[tuple[int, ReferenceType[Table]]] = []
        self._equal: WeakSet[nn.Module] = WeakSet()
        self.eval()

    # Tasks

    @torch.no_grad()
    def add(self, task: Task, name: str | None = None) -> None:
        """Adds a copy of a task.

        Args:
            task: made for this backbone.
            name: instead of the task's own name.

        Raises:
            ValueError: the name is taken, the task was made for a backbone with other numbers, a bank does not support
                what the task does, its head is not linear, or only some tasks have heads.
        """
        name = name or task.name
        with self._changing:
            if name in self:
                raise ValueError(f"task {name!r} is in the bank already; remove it first, or give another name")
            task.origin.check(name, self.backbone, self._equal)
            self.table.heads.check(task.head, name)
            stacks = self._read(task, name)
            self._runner.adapt(forms_of(task))
            self._publish(self.table.added(name, stacks, task.head, self._kinds, self._oldest()))

    def remove(self, name: str) -> None:
        """Removes a task; its place is reused when no forward pass can read it any more.

        Raises:
            ValueError: there is no such task.
        """
        with self._changing:
            places_of(self.table, [name])
            self._publish(self.table.removed(name))

    def _publish(self, table: Table) -> None:
        """Publishes a table to forward passes in one assignment, after everything that can fail."""
        self._older = [(version, older) for version, older in self._older if older() is not None]
        self._older.append((self.table.version, ref(self.table)))
        self.table = table

    def _oldest(self) -> int:
        """The version of the oldest table that a forward pass may be reading."""
        return min((version for version, older in self._older if older() is not None), default=self.table.version)

    def __len__(self) -> int:
        return len(self.table.places)

    def __repr__(self) -> str:
        size, names = outlined(self.backbone, self.table.places, repr)
        return f"Bank({size}{': ' * bool(names)}{', '.join(names)})"

    def __contains__(self, name: object) -> bool:
        return name in self.table.places

    def __iter__(self) -> Iterator[str]:
        return iter(self.table.places)

    def index(self, names: Iterable[str]) -> Tensor:
        """The numbers of tasks, int64 `[B]`, as `forward` takes them.

        A number belongs to one task in one bank: `forward` refuses an index of a removed task or of another bank, also
        as a copy, a slice or a batch of several.

        Raises:
            TypeError: `names` is no collection of names.
            ValueError: a task is unknown, or the list is empty.
        """
        return index_of(self.table, names_of_any(names))

    def nbytes(self) -> int:
        """Bytes of all tasks, idle places included, without the backbone."""
        return self.table.nbytes()

    # Running

    def forward(
        self,
        *args: Any,
        task: Sequence[str] | None = None,
        index: Tensor | None = None,
        broadcast: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Runs a batch.

        Args:
            args, kwargs: the backbone's inputs, batch first; an index may be the last positional one.
            task: names, one per row; with `broadcast` distinct ones.
            index: instead of names, the numbers `[B]` of `bank.index(names)`, for compiled and exported graphs;
                exported graphs take places too, counted from 0.
            broadcast: each task sees the whole batch, which runs once through the layers that no task in the bank
                changes, if these are a good part of the network.

        Returns:
            For names, as of `MultiTask`: the output of each row; with `broadcast`, the outputs by task.
            For an index, `[B, outputs]` for the largest head, with -inf past the outputs of smaller heads; without
            heads, the backbone's output; with `broadcast`, a list of these, one for each number of the index.

        Raises:
            TypeError: `task` is no list of names, or the index is no int64 tensor `[B]`.
            ValueError: a task is unknown or removed, one is named twice, or the number of rows is another.
        """
        table = self.table  # one table for the whole pass
        names: Sequence[str] = ()
        if task is None:
            args, given = (args, index) if index is not None else (args[:-1], args[-1] if args else None)
            rows, places = rows_at(table, given)
        elif index is not None:
            raise TypeError("task and index both say whose rows these are; give one of them")
        else:
            names = names_of_all(task) if broadcast else names_of_rows(task)
            places = tuple(places_of(table, names) if names else ())
            rows = torch.tensor(places, dtype=torch.long, device=table.numbers.device)
        if not (broadcast or torch.compiler.is_compiling()):
            batched(args, kwargs, len(rows), "index has {} numbers" if task is None else "task lists {} names")

        def run() -> Any:
            if broadcast:
                return self._broadcast(table, rows, args, kwargs)
            return self._mixed(table, Rows(rows.shape[0], rows, places=places, gathers=True), rows, args, kwargs)

        if broadcast and names:
            made = broadcast_with_caches([[name] for name in names], self.backbone, args, kwargs, run)
        else:
            made = with_caches(() if broadcast else names, self.backbone, args, kwargs, run)
        if task is None:
            return made
        if table.heads.used:
            made = table.heads.trimmed(made, places or ())
        if broadcast:
            return dict(zip(names, made, strict=True))
        return Outputs.of_rows(names, made) if table.heads.used else made

    def _mixed(self, table: Table, rows: Rows, index: Tensor, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self._said(table, self._runner.run(_selection(table, rows), inputs, kwargs), index)

    def _broadcast(self, table: Table, index: Tensor, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        if not len(index):
            raise ValueError("index is empty; give the row of at least one task")
        beside = self._beside and not worth_sharing(self.backbone, [table.layout])
        if beside:
            # It may fail at layers that see no rows; if the input is at fault, the next way raises.
            with suppress(Exception), own_state(self.backbone):
                made = self._side_by_side(table, index, *own_inputs(inputs, kwargs))
                if made is not None:
                    return made
                beside = False  # not tried, so that another form of inputs may still use it
        together = Selection(OfTable(table.columns(index), len(index)), None, False)
        found = self._runner.run_each(together, [table.layout], inputs, kwargs)
        if beside:
            self._beside = False  # it failed, and the other way did not
        return [self._said(table, one, each, shared=True) for one, each in zip(found, index.split(1), strict=True)]

    def _side_by_side(
        self, table: Table, index: Tensor, inputs: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> list[Any] | None:
        """Runs a broadcast as a mixed batch that repeats all rows for each task; None: an output has no rows."""
        rows, tasks = rows_of(inputs, kwargs), len(index)
        if not rows or Batch.of(inputs, kwargs, rows).holds_several():
            return None  # repeated rows would share their slices
        args, named = repeated((inputs, kwargs), rows, tasks)
        places = None
        if not table.heads.used and not torch.compiler.is_compiling():
            known = self._runner.known(Batch.of(args, named, rows * tasks), "__call__", training=False)
            places = known.outputs
            if known.lists or known.reading or not of_rows_alone(places):
                return None
        index = index.repeat_interleave(rows)
        made = self._mixed(table, Rows(rows * tasks, index, gathers=True), index, args, named)
        return parted(made, rows, tasks, places)

    def generate(self, *args: Any, task: Sequence[str], **kwargs: Any) -> Any:
        """Runs the backbone's own `generate` (Hugging Face language models), one task per row.

        Args:
            args, kwargs: as the backbone's `generate` takes them, beams included.
            task: names, one per row of the input.

        Raises:
            TypeError: the backbone has no `generate`, or `task` is no list of names.
            ValueError: a task is unknown, or the numbers of names and rows differ.
        """
        check_generates(self.backbone, task, kwargs)
        table, names = self.table, names_of_rows(task)
        index = torch.tensor(places_of(table, names), device=table.numbers.device)
        batched(args, kwargs, len(index))
        # Gathered once for the whole text, not for each token.
        columns = table.columns(index)
        rows = Rows(len(index), None, places=tuple(range(len(index))), gathers=True)
        selection = Selection(OfTable(columns, len(index), table.there[index].tolist), rows, False)
        return with_caches(
            names, self.backbone, args, kwargs, lambda: self._runner.run(selection, args, kwargs, "generate")
        )

    def train(self, mode: bool = True) -> Bank:
        """Refuses training mode.

        Raises:
            RuntimeError: `mode` is True.
        """
        if mode:
            raise RuntimeError("a bank serves and does not train; train tasks in a MultiTask and add them again")
        self.training = False  # not the backbone's: other models may use it
        return self

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Bank:
        super()._apply(fn, recurse)
        self._runner.renew()
        return self

    def _said(self, table: Table, output: Any, index: Tensor, shared: bool = False) -> Any:
        """The heads' outputs; the index has one place for each row, or one place for all (`shared`)."""
        if not table.heads.used:
            return output
        features = self.features(output)
        return table.heads(features, index.expand(features.shape[0]) if shared else index)

    def _read(self, task: Task, name: str) -> dict[str, Stack]:
        """A task's stacks in evaluation, as rows hold them, by path."""
        found: dict[str, Stack] = {}
        for path, parts in layers_of(task):
            kind = self._kind(path)
            if words := parts.form.odds(kind, path):
                raise ValueError(words)
            assert kind is not None
            if parts.form.computed:
                raise UnfitError(parts.form.computed)
            try:
                stack = stack_of(parts, kind, SERVING)
            except ValueError as error:
                raise ValueError(f"task {name!r}, layer {path!r}: {error}") from None
            if not all(one.fits(kind, tensors) for one, tensors in stack):
                raise ValueError(f"task {name!r} has tensors at layer {path!r} that are not of the layer's sizes")
            found[path] = [(one, one.served(kind, tensors)) for one, tensors in stack]
        return found

    def _kind(self, path: str) -> LayerKind | None:
        """The kind of the layer that is at `path` now; cached for the same module."""
        module, known = module_at(self.backbone, path), self._kinds.get(path)
        if module is not None and (known is None or known.source is not module):
            known = self._kinds[path] = kind_of(module)
        return None if module is None else known

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_changing", "_older", "_equal")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._changing, self._older, self._equal = threading.RLock(), [], WeakSet()


def _selection(table: Table, rows: Rows) -> Selection:
    return Selection(OfTable(table.columns(), len(table.numbers), table.there.tolist), rows, False)
