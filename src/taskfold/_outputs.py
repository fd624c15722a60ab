"""From what the backbone put out to what tasks say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_map

from .layers import SiteState
from .tasks import Task


def batched(args: tuple[Any, ...], kwargs: Mapping[str, Any], rows: int) -> Tensor:
    """The first input with so many rows: beside the batch there may be tensors that serve all of it.

    Raises:
        ValueError: there is none.
    """
    tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
    if not tensors:
        raise ValueError("the input holds no tensor, so that its rows cannot be counted; give the batch as tensors")
    found = next((tensor for tensor in tensors if tensor.dim() and len(tensor) == rows), None)
    if found is None:
        raise ValueError(f"task lists {rows} names for a batch of {len(tensors[0])} rows; give one per row")
    return found


def rows_of(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int:
    """Rows of a batch, by its first tensor."""
    return next((len(value) for value in (*args, *kwargs.values()) if isinstance(value, Tensor) and value.dim()), 1)


def check_generates(backbone: nn.Module) -> None:
    """A backbone that writes text.

    Raises:
        TypeError: it does not.
    """
    if not callable(getattr(backbone, "generate", None)):
        raise TypeError(f"{type(backbone).__name__} has no generate(); load a language model with its output layer")


def output_of(task: Task, features: Any) -> Any:
    """The head's output, or without one the features themselves."""
    return features if task.head is None else task.head(features)


def outputs_of_rows(tasks: Sequence[Task], rows: Tensor, features: Any) -> list[Tensor]:
    """The output of each row from its own task's head.

    Args:
        tasks: that rows are of.
        rows: `[B]`, the number of each row's task.
        features: tensors `[B, …]`, nested as the heads take them.
    """
    outputs: dict[int, Tensor] = {}
    for n, task in enumerate(tasks):
        mine = (rows == n).nonzero().squeeze(1)
        made = output_of(task, tree_map(lambda part: part[mine] if isinstance(part, Tensor) else part, features))  # noqa: B023 - called at once
        outputs |= dict(zip(mine.tolist(), made, strict=True))
    return [outputs[row] for row in range(len(rows))]


def of_one_network(tasks: Sequence[Task]) -> Iterator[tuple[Task, ...]]:
    """Tasks in groups whose backbones are the same, to the last number: one pass serves all of a group."""
    groups: dict[object, list[Task]] = {}
    for task in tasks:
        groups.setdefault(_network(task), []).append(task)
    return (tuple(group) for group in groups.values())


def _network(task: Task) -> object:
    found: list[object] = []
    for path, state in task.sites._modules.items():
        assert isinstance(state, SiteState)
        common = state.common()
        if common is None:
            return id(task)
        found.append((path, common))
    return tuple(found)


def names_of_all(task: object) -> list[str]:
    """The names of `broadcast=True`, each once.

    Raises:
        TypeError: not a list of names.
        ValueError: the list is empty, or has a name twice.
    """
    names = _names(task, "with broadcast=True task must be a list of names")
    if not names or len(set(names)) < len(names):
        raise ValueError(f"with broadcast=True task must list at least one name and none twice, found {names}")
    return names


def names_of_rows(task: object) -> list[str]:
    """The names of a mixed batch, one per row.

    Raises:
        TypeError: not a list of names.
        ValueError: the list is empty.
    """
    names = _names(task, "task must be a list of names, one per row")
    if not names:
        raise ValueError("task is an empty list; give one name per row")
    return names


def _names(task: object, rule: str) -> list[str]:
    if isinstance(task, str) or not isinstance(task, Sequence):
        raise TypeError(f"{rule}, found {task!r:.100}")
    if odd := [name for name in task if not isinstance(name, str)]:
        raise TypeError(f"{rule}, found {odd[0]!r:.100} in it")
    return list(task)
