"""A bank: many tasks as rows of one table of numbers, any mixture of them in one batch."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from ._heads import Heads, room
from ._outputs import batched, check_generates, names_of_all, names_of_rows, rows_of
from ._runner import Runner
from .layers import Banked, Selection, SiteState, Traits, kind_of, padded, worth_sharing
from .tasks import Features, Task, pooled


class Bank(nn.Module):
    """Tasks of one backbone, ready to be served: one row of numbers for each, and no modules.

    A batch in which every row has its own task costs one gather and one forward pass, whatever the mixture; nothing
    loops over tasks, so that one compiled or exported graph serves every mixture. A task in the bank is a copy as it
    was; it does not train there.

    Args:
        backbone: the network that the tasks were made for; it is not changed.
        features: as for `MultiTask`.

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
        >>> [tuple(y.shape) for y in bank.outputs(x, task=["cars", "flowers", "cars"])]
        [(7,), (5,), (7,)]
    """

    numbers: Tensor

    def __init__(self, backbone: nn.Module, *, features: Features | None = None) -> None:
        super().__init__()
        self.backbone = backbone.requires_grad_(False)
        self.features: Features = features or pooled
        self.layout: dict[str, Banked] = {}
        self.traits: dict[str, Traits] = {}
        self.rows: dict[str, int] = {}
        self.free: list[int] = []
        self.heads = Heads()
        self._beside = True
        self._runner = Runner(backbone)
        self._runner.train(False)
        like = next(backbone.parameters(), torch.zeros(()))
        self.register_buffer("numbers", like.new_zeros(0, 0), persistent=False)
        self.eval()

    # Tasks

    @torch.no_grad()
    def add(self, task: Task, name: str | None = None) -> None:
        """Take a copy of a task.

        Args:
            task: made for this backbone.
            name: another than its own.

        Raises:
            ValueError: the name is taken, the task does something that a bank cannot hold, or its head is neither
                linear nor absent as the others' are.
        """
        name = name or task.name
        if name in self.rows:
            raise ValueError(f"task {name!r} is in the bank already; remove it first, or give another name")
        self.heads.check(task.head, name)
        kinds, tensors = self._read(task, name)
        self._fit(kinds, tensors)
        row = self.free.pop() if self.free else self._next()
        self.heads.put(row, task.head)
        self.numbers[row] = self._row(tensors)
        self.rows[name] = row

    def remove(self, name: str) -> None:
        """Forget a task; its place is for the next one.

        Raises:
            ValueError: there is no such task.
        """
        self.index([name])
        row = self.rows.pop(name)
        self.numbers[row] = 0
        self.heads.drop(row)
        self.free.append(row)

    def __len__(self) -> int:
        return len(self.rows)

    def __contains__(self, name: object) -> bool:
        return name in self.rows

    def index(self, names: Iterable[str]) -> Tensor:
        """The rows of tasks, `[B]`, as `forward` takes them.

        Raises:
            ValueError: a task is not known, or the list is empty.
        """
        wanted = list(names)
        if not wanted:
            raise ValueError("the list of tasks is empty; give one name per row")
        for name in wanted:
            if name not in self.rows:
                near = difflib.get_close_matches(str(name), list(self.rows), 1, cutoff=0.5)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ValueError(f"task {name!r} is not in the bank, which has {len(self)}{hint}")
        return torch.tensor([self.rows[name] for name in wanted], device=self.numbers.device)

    def nbytes(self) -> int:
        """Bytes of all tasks together, idle places included; the backbone's are not."""
        return sum(tensor.numel() * tensor.element_size() for tensor in (self.numbers, *self.heads.tables()))

    # Running

    def forward(self, *args: Any, index: Tensor | None = None, broadcast: bool = False, **kwargs: Any) -> Any:
        """Run a batch.

        Args:
            args, kwargs: the backbone's inputs, batch first; the index `[B]` last, or by name.
            broadcast: the index `[T]` is of tasks that each see the whole batch, which passes once through the layers
                that no task in the bank changes, if they are a good part of the network.

        Returns:
            `[B, outputs]`, outputs being those of the largest head, where a smaller one has -inf; without heads the
            backbone's output. With `broadcast` a list of these, one for each task.

        Raises:
            TypeError: the index is no tensor of whole numbers `[B]`.
            ValueError: it is empty, or has not as many places as the batch has rows.
        """
        inputs, index = (args, index) if index is not None else (args[:-1], args[-1] if args else None)
        if not isinstance(index, Tensor) or index.dim() != 1 or index.is_floating_point():
            given = f"a tensor {tuple(index.shape)} of {index.dtype}" if isinstance(index, Tensor) else repr(index)
            raise TypeError(f"index must be a tensor of rows such as bank.index(names) gives, found {given}")
        if broadcast:
            return self._broadcast(index, inputs, kwargs)
        if not torch.compiler.is_compiling():
            batched(inputs, kwargs, len(index))
        return self._said(self._runner.run(self._selection(index), inputs, kwargs), index)

    def _broadcast(self, index: Tensor, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        if not len(index):
            raise ValueError("index is empty; give the row of at least one task")
        beside = self._beside and not worth_sharing(self.backbone, [self.layout])
        if beside:
            with suppress(Exception):  # layers that see no rows, say; if the input is at fault, what follows says so
                return self._side_by_side(index, inputs, kwargs)
        each = index.split(1)
        alone = [self._selection(one, shared=True) for one in each]
        together = self._selection(index, shared=True)
        found = self._runner.run_each(alone, together, [self.layout], inputs, kwargs)
        if beside:
            self._beside = False  # that failed, and this did not
        return [self._said(output, one, shared=True) for output, one in zip(found, each, strict=True)]

    def _side_by_side(self, index: Tensor, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        """As a mixed batch in which every row is there for each task."""
        rows, tasks = rows_of(inputs, kwargs), len(index)

        def repeated(leaf: Any) -> Any:
            return torch.cat([leaf] * tasks) if isinstance(leaf, Tensor) and leaf.dim() and len(leaf) == rows else leaf

        def part(leaf: Any, n: int) -> Any:
            of_rows = isinstance(leaf, Tensor) and leaf.dim() and len(leaf) == tasks * rows
            return leaf[n * rows : (n + 1) * rows] if of_rows else leaf

        args, named = tree_map(repeated, (inputs, kwargs))
        made = self(*args, index=index.repeat_interleave(rows), **named)
        return [tree_map(partial(part, n=n), made) for n in range(tasks)]

    def outputs(self, *args: Any, task: Sequence[str], broadcast: bool = False, **kwargs: Any) -> Any:
        """The same by names: a list with the output of each row, with `broadcast` a dict, as `MultiTask` gives them.

        Raises:
            ValueError: a task is not known, there are not as many names as rows, or one is named twice.
            TypeError: the names are no list.
        """
        names = names_of_all(task) if broadcast else names_of_rows(task)
        index = self.index(names)
        made = self(*args, index=index, broadcast=broadcast, **kwargs)
        if self.heads.used:
            made = self.heads.trimmed(made, index.tolist())
        return dict(zip(names, made, strict=True)) if broadcast else made

    def generate(self, *args: Any, task: Sequence[str], **kwargs: Any) -> Any:
        """The backbone's own `generate` (Hugging Face language models), one task per row.

        Args:
            args, kwargs: as the backbone's `generate` takes them, beams included.
            task: names, one per row of the input.

        Raises:
            TypeError: the backbone has no `generate`, or the names are no list.
            ValueError: a task is not known, or there are not as many names as rows.
        """
        check_generates(self.backbone)
        index = self.index(names_of_rows(task))
        batched(args, kwargs, len(index))
        return self._runner.run(self._selection(index, ahead=True), args, kwargs, "generate")

    def train(self, mode: bool = True) -> Bank:
        """A bank only serves.

        Raises:
            RuntimeError: it is to train.
        """
        if mode:
            raise RuntimeError("a bank serves and does not train; train tasks in a MultiTask and add them again")
        self.training = False  # and not the backbone's, which is somebody else's
        return self

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Bank:
        super()._apply(fn, recurse)
        self._runner.renew()
        return self

    def _selection(self, index: Tensor, shared: bool = False, ahead: bool = False) -> Selection:
        """A task for each row of a batch; if shared, for several that lie side by side; ahead: for many passes."""
        views = self._views(self.numbers.index_select(0, index) if ahead else self.numbers)

        def at(path: str) -> partial[Tensor]:
            one, held = self.layout[path], views[path]
            return partial(one.run, held, shared=shared) if ahead else partial(one.gathered, held, index, shared=shared)

        return Selection((), None if shared else index, False, banked={path: at(path) for path in views})

    def _said(self, output: Any, index: Tensor, shared: bool = False) -> Any:
        """What heads make of the backbone's output; the index has one place that is shared, or one for each row."""
        if not self.heads.used:
            return output
        features = self.features(output)
        return self.heads(features, index.expand(len(features)) if shared else index)

    # The table

    def _read(self, task: Task, name: str) -> tuple[dict[str, type[Banked]], dict[str, dict[str, Tensor]]]:
        kinds: dict[str, type[Banked]] = {}
        tensors: dict[str, dict[str, Tensor]] = {}
        for path, state in task.sites._modules.items():
            assert isinstance(state, SiteState)
            try:
                module = self.backbone.get_submodule(path)
            except AttributeError:
                raise ValueError(f"task {name!r} was made for another backbone: there is no layer {path!r}") from None
            try:
                if path not in self.traits:
                    self.traits[path] = Traits.of(module)
                kinds[path] = kind_of(module, state, self.traits[path])
            except ValueError as error:
                raise ValueError(f"task {name!r}, layer {path!r}: {error}") from None
            tensors[path] = kinds[path].read(module, state)
            if not kinds[path].fits(module, tensors[path]):
                raise ValueError(f"task {name!r} was made for another backbone: its layer {path!r} has other sizes")
        return kinds, tensors

    def _fit(self, kinds: dict[str, type[Banked]], tensors: dict[str, dict[str, Tensor]]) -> None:
        """Room in the layout for what a new task brings."""
        layout = dict(self.layout)
        for path, kind in kinds.items():
            found = {name: tuple(tensor.shape) for name, tensor in tensors[path].items()}
            known = layout.setdefault(path, kind(path, found))
            if type(known) is not kind:
                raise ValueError(
                    f"layer {path!r}: tasks in one bank must do the same kind of thing there ({type(known).__name__}), "
                    f"found {kind.__name__}; give tasks of this method a bank of their own"
                )
            if (shapes := known.widened(found)) != known.shapes:
                layout[path] = kind(path, shapes)
        if layout != self.layout:
            self._lay_out(layout)

    def _lay_out(self, layout: dict[str, Banked]) -> None:
        """Another layout: every row is written anew."""
        before, count = self._views(self.numbers), len(self.numbers)
        self.layout = layout
        self.numbers = self._row({}).repeat(count, 1)  # as tasks that leave every layer alone
        after = self._views(self.numbers)
        for path, tensors in before.items():
            for name, held in tensors.items():
                view = after[path][name].zero_()
                view[(slice(None), *(slice(size) for size in held.shape[1:]))] = held
        self._runner.adapt(layout)

    def _row(self, tensors: dict[str, dict[str, Tensor]]) -> Tensor:
        parts = []
        for path, one in self.layout.items():
            mine = tensors.get(path, {})
            if mine.keys() != one.shapes.keys():
                mine = one.neutral(self.backbone.get_submodule(path)) | mine
            parts += [padded(mine[name].detach(), shape) for name, shape in one.shapes.items()]
        return torch.cat([part.to(self.numbers) for part in parts]) if parts else self.numbers.new_zeros(0)

    def _views(self, numbers: Tensor) -> dict[str, dict[str, Tensor]]:
        """What rows `[B, …]` hold, by path and name."""
        sizes = [prod(shape) for one in self.layout.values() for shape in one.shapes.values()]
        parts = iter(numbers.split(sizes, 1))
        return {
            path: {name: next(parts).unflatten(1, shape) for name, shape in one.shapes.items()}
            for path, one in self.layout.items()
        }

    def _next(self) -> int:
        """A new place at the end."""
        self.numbers = room(self.numbers, len(self.rows) + 1)
        return len(self.rows)
