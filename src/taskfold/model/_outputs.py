"""From the backbone's output to the tasks' outputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils._pytree import tree_leaves, tree_map

from ..kinds import Groups, Rows
from ..layers import layers_of
from ..refusals import UnfitError
from ..tasks import Task
from ._nested import Nested
from ._rows import Batch
from ._said import check_features, output_of, runs_in


class Outputs(list[Any]):
    """The output of each row of a mixed batch, in the batch's order; tasks' outputs may differ in size.

    Args:
        names: the task of each row.
        by_task: the rows of each task, in the batch's order.
    """

    def __init__(self, names: Sequence[str], by_task: Mapping[str, Any]) -> None:
        rows = {name: iter(made) for name, made in by_task.items()}
        super().__init__([next(rows[name]) for name in names])
        self.names, self._by_task = tuple(names), dict(by_task)

    @classmethod
    def of_rows(cls, names: Sequence[str], rows: Sequence[Tensor]) -> Outputs:
        parts: dict[str, list[Tensor]] = {}
        for name, row in zip(names, rows, strict=True):
            parts.setdefault(name, []).append(row)
        return cls(names, {name: torch.stack(mine) for name, mine in parts.items()})

    def of(self, name: str) -> Any:
        """The rows of one task, `[n, …]`.

        Raises:
            ValueError: no row of the batch is of that task.
        """
        if name not in self._by_task:
            raise ValueError(f"task {name!r} has no row in this batch, which is of {', '.join(self._by_task)}")
        return self._by_task[name]


def batched(
    args: tuple[Any, ...], kwargs: Mapping[str, Any], rows: int, given: str = "task lists {} names"
) -> Tensor | None:
    """The first input tensor with `rows` rows; other tensors may serve the whole batch.

    Args:
        args, kwargs: the inputs.
        rows: the wanted number of rows.
        given: the beginning of the error's message.

    Returns:
        The tensor; None: there is none, but a list with an entry for each row.

    Raises:
        ValueError: no input has so many rows.
    """
    tensors = _tensors(args, kwargs)
    found = next((tensor for tensor in tensors if tensor.dim() and len(tensor) == rows), None)
    if found is None and rows and any(isinstance(one, (list, tuple)) for one in Batch.of(args, kwargs, rows, 1).leaves):
        return tensors[0] if tensors else None
    if not tensors:
        raise ValueError(
            "the input holds no tensor, so that its rows cannot be counted; give the batch as tensors, which may lie "
            "in lists, dicts and dataclasses (of texts their tokens), or as a list with an entry for each row"
        )
    if found is None:
        there = len(tensors[0]) if tensors[0].dim() else "no"
        said = given.format(rows) if rows else f"{given.partition(' ')[0]} is an empty list"
        raise ValueError(f"{said} for a batch of {there} rows; give one per row")
    return found


def rows_of(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int:
    """The number of rows of a batch, by its first tensor."""
    return next((len(value) for value in _tensors(args, kwargs) if value.dim()), 1)


def _tensors(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Tensor]:
    """The tensors among inputs; if none of them has rows, also those inside containers."""
    given = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
    if any(tensor.dim() for tensor in given):
        return given
    return given + [leaf for leaf in Nested.of((args, dict(kwargs)))[0] if isinstance(leaf, Tensor)]


def check_generates(backbone: nn.Module, task: object, settings: Mapping[str, object]) -> None:
    """Checks the arguments of `generate`.

    Raises:
        TypeError: the backbone does not generate text, or the assistant is no language model.
        ValueError: the list of tasks is empty.
    """
    if not callable(getattr(backbone, "generate", None)):
        raise UnfitError(f"{type(backbone).__name__} has no generate(); load a language model with its output layer")
    helper = settings.get("assistant_model")
    if helper is not None and not hasattr(helper, "config"):
        raise TypeError(
            f"assistant_model is a {type(helper).__name__}, and no language model by itself; give model.fold(name) of "
            "the task that assists"
        )
    if isinstance(task, (list, tuple)) and not task:
        raise ValueError("task is an empty list; give one name per row of the texts to go on with")


def outputs_of_rows(names: Sequence[str], tasks: Sequence[Task], rows: Rows, features: Any, training: bool) -> Outputs:
    """The output of each row from its task's head.

    Args:
        names: the task of each row.
        tasks: the distinct tasks, by entry.
        rows: the entry of each row.
        features: nested tensors `[B, …]`, as the heads take them.
        training: the mode of the heads.

    Raises:
        ValueError: the numbers of features and rows differ.
    """
    for part in tree_leaves(features):
        if isinstance(part, Tensor) and part.shape[:1] != (rows.size,):
            raise ValueError(
                f"the backbone makes features {list(part.shape)} for a mixed batch of {rows.size} rows; heads need one "
                "of each row: give features= a function that makes them"
            )
    groups = rows.groups("head")
    by_rows = tree_map(lambda part: groups.sorted(part) if isinstance(part, Tensor) else part, features)
    mine = [tasks[entry] for entry in groups.entries]
    heads = [task.head for task in mine]
    if isinstance(by_rows, Tensor) and by_rows.dim() == 2 and not groups.pays and _linear(heads):
        for task, head in zip(mine, heads, strict=True):
            if head.in_features != by_rows.shape[1]:  # type: ignore[union-attr]
                check_features(by_rows, head.in_features, f"task {task.name!r}: its head takes")  # type: ignore[union-attr,arg-type]
        made = _at_once(heads, groups, by_rows)
    else:
        made, begin = [], 0
        for task, size in zip(mine, groups.sizes, strict=True):
            made.append(output_of(task, tree_map(_slice(begin, begin + size), by_rows), training))
            begin += size
    return Outputs(names, {task.name: one for task, one in zip(mine, made, strict=True)})


def _linear(heads: Sequence[nn.Module | None]) -> bool:
    """Whether all heads are `nn.Linear`, without hooks."""
    for head in heads:
        if type(head) is not nn.Linear or head._forward_hooks or head._forward_pre_hooks or head._backward_hooks:
            return False
    return True


def _at_once(heads: Sequence[Any], groups: Groups, features: Tensor) -> list[Tensor]:
    """The outputs of linear heads with few rows each, in one batched product with padded heads."""
    outputs = [head.out_features for head in heads]
    weights, biases = [head.weight for head in heads], [head.bias for head in heads]
    if (dtype := runs_in(features)) is not None:
        weights = [weight.to(dtype) for weight in weights]
        biases = [None if bias is None else bias.to(dtype) for bias in biases]
    none = weights[0].new_zeros(max(outputs))
    weight = pad_sequence(weights, batch_first=True)
    bias = pad_sequence([none if bias is None else bias for bias in biases], batch_first=True)
    if len(heads) < len(features):
        entry = torch.tensor([n for n, size in enumerate(groups.sizes) for _ in range(size)], device=features.device)
        weight, bias = weight.index_select(0, entry), bias.index_select(0, entry)
    made = torch.baddbmm(bias[:, :, None], weight, features[:, :, None])[:, :, 0]
    return [one[:, :size] for one, size in zip(made.split(groups.sizes), outputs, strict=True)]


def _slice(begin: int, end: int) -> Any:
    return lambda part: part[begin:end] if isinstance(part, Tensor) else part


def of_one_network(tasks: Sequence[Task]) -> Iterator[tuple[Task, ...]]:
    """Groups of tasks whose backbones are identical, so that one pass serves a group."""
    groups: dict[object, list[Task]] = {}
    for task in tasks:
        groups.setdefault(_network(task), []).append(task)
    return (tuple(group) for group in groups.values())


def _network(task: Task) -> object:
    found: list[object] = []
    for path, parts in layers_of(task):
        common = parts.common()
        if common is None:
            return id(task)
        found.append((path, common))
    return tuple(found)


def names_of_all(task: object) -> list[str]:
    """Checks the names of a broadcast, which must be distinct.

    Raises:
        TypeError: not a list of names.
        ValueError: the list is empty, or has a name twice.
    """
    names = _names(task, "with broadcast=True task must be a list of names")
    if not names or len(set(names)) < len(names):
        raise ValueError(f"with broadcast=True task must list at least one name and none twice, found {names}")
    return names


def names_of_rows(task: object) -> list[str]:
    """Checks the names of a mixed batch, one per row.

    Raises:
        TypeError: not a list of names.
    """
    return _names(task, "task must be a list of names, one per row")


def names_of_any(names: object) -> list[str]:
    """A list of the names in a collection.

    Raises:
        TypeError: a single string, or not names.
    """
    rule = f"names must be a list of task names, such as [{names!r}]" if isinstance(names, str) else ""
    return _names(
        names if rule or not isinstance(names, Iterable) else [*names], rule or "names must be a list of names"
    )


def _names(task: object, rule: str) -> list[str]:
    if isinstance(task, str) or not isinstance(task, Sequence):
        raise TypeError(f"{rule}, found {task!r:.100}")
    if odd := [name for name in task if not isinstance(name, str)]:
        raise TypeError(f"{rule}, found {odd[0]!r:.100} in it")
    return list(task)
