from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor, nn

from ._named import Named

_RATES = {"factors": 1e-2, "routing": 0.1, "diagonal": 1e-2, "norm": 5e-3, "head": 5e-3}
_OTHER_RATE = 1e-2


def default_rate(group: str) -> float:
    """The learning rate that a group of parameters has with Adam where nobody says otherwise."""
    return _RATES.get(group, _OTHER_RATE)


def check_name(name: object) -> str:
    """A task's name: text of 1 to 100 printable characters without dots or slashes.

    Raises:
        ValueError, TypeError: the name breaks that rule.
    """
    if not isinstance(name, str):
        raise TypeError(f"a task's name must be text, found {type(name).__name__} {name!r}")
    if not 0 < len(name) <= 100 or not name.isprintable() or set(name) & set("./\\") or name != name.strip():
        raise ValueError(
            f"task name {name!r} is not allowed: 1 to 100 printable characters, no dots, slashes or outer spaces "
            "(it names parameters and files); use '-' or '_' instead"
        )
    return name


@dataclass
class Info:
    """What is known about a task beside its numbers; JSON all through.

    Attributes:
        labels: class names, by output; empty if unknown.
        preprocessing: how an input is made ready (see `taskfold.data.Preprocessing`).
        metrics: what was measured when it was trained.
    """

    labels: tuple[str, ...] = ()
    preprocessing: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"labels": list(self.labels)}


class Task(nn.Module):
    """One task on the backbone.

    Attributes:
        name: its name.
        method: the method it was made by, `{"name": …, "settings": {…}}`.
        sites: what it does, by module path of the backbone.
        head: module on the backbone's features; None: the backbone's output is the task's.
        info: labels, preprocessing, metrics.
        transfer: how it was made from an inventory, `all`, `mu` or `z`; None: it was not. See
            `MultiTask.transfer_task`.
    """

    transfer: str | None = None

    def __init__(
        self,
        name: str,
        method: dict[str, Any],
        sites: dict[str, nn.Module],
        head: nn.Module | None,
        info: Info,
    ) -> None:
        super().__init__()
        self.name = check_name(name)
        self.method = method
        self.sites: Named[nn.Module] = Named(sites)
        self.head = head
        self.info = info

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """The task's own parameters by kind: `factors`, `routing`, `norm`, `head`. Tied ones are listed once."""
        groups: dict[str, list[nn.Parameter]] = {"factors": [], "routing": [], "norm": [], "head": []}
        seen: set[int] = set()
        for owner in self.modules():
            for name, parameter in owner._parameters.items():
                if parameter is None or id(parameter) in seen:
                    continue
                kind = _kind(self, owner, name)
                seen.add(id(parameter))
                groups.setdefault(kind, []).append(parameter)
        return groups

    def rates(self) -> dict[str, float]:
        """The default learning rate, for Adam, of each group that the task has parameters of."""
        return {group: default_rate(group) for group, parameters in self.groups().items() if parameters}

    def counts(self) -> dict[str, int]:
        """How many numbers of each kind the task holds; running statistics not counted."""
        return {kind: sum(p.numel() for p in parameters) for kind, parameters in self.groups().items()}

    def nbytes(self) -> int:
        """Bytes of all that the task holds, running statistics and head included."""
        tensors: dict[int, Tensor] = {id(t): t for t in [*self.parameters(), *self.buffers()]}
        return sum(t.numel() * t.element_size() for t in tensors.values())


def _kind(task: Task, owner: nn.Module, name: str) -> str:
    """Owners of adapter state say what it counts as; all else is the head's."""
    group = owner.__dict__.get("group")
    if isinstance(group, str):
        return group
    groups = owner.__dict__.get("groups")
    return groups[name] if isinstance(groups, dict) else "head"
