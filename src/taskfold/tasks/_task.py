from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Self
from uuid import uuid4

from torch import Tensor, nn

from ..factors import HEAD, Group, lowest_rates
from ..files import check_name
from ._leaves import Leaves, keeping_precision
from ._named import Named
from ._origin import Origin


@dataclass
class Info:
    """Data about a task, as JSON values.

    Attributes:
        labels: class names, by output; empty if unknown.
        preprocessing: the preprocessing of inputs (see `taskfold.data.Preprocessing`).
        problem: the meaning of the outputs (see `taskfold.problems`); empty: classes.
        metrics: the measures from its training.
    """

    labels: tuple[str, ...] = ()
    preprocessing: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    problem: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"labels": list(self.labels)}


class Task(nn.Module):
    """One task on the backbone.

    Attributes:
        name: its name.
        method: its method, `{"name": …, "settings": {…}}`.
        sites: its parts, by module path of the backbone.
        head: the module on the backbone's features; None: the backbone's output is the task's output.
        info: labels, preprocessing, metrics.
        transfer: the mode in which it was transferred to an inventory, `all`, `mu` or `z`; None: it was not. See
            `MultiTask.transfer_task`.
        origin: the backbone that it was made for.
        serial: unique for each task, so that code compiled for one never serves another.
    """

    transfer: str | None = None
    origin: Origin = Origin()

    def __init__(
        self, name: str, method: dict[str, Any], sites: dict[str, nn.Module], head: nn.Module | None, info: Info
    ) -> None:
        super().__init__()
        self.name = check_name(name)
        self.serial = uuid4().hex
        self.method = method
        self.sites: Named[nn.Module] = Named(sites)
        self.head = head
        self.info = info

    def in_short(self) -> str:
        """The method, the size and the outputs, in one line."""
        own = sum(size for group, size in self.counts().items() if group != "head")
        outputs = getattr(self.head, "out_features", None)
        head = "no head" if self.head is None else f"{outputs} outputs" if outputs else type(self.head).__name__
        return f"{self.method['name']}, {own:,} numbers, {head}"

    def __repr__(self) -> str:
        return f"Task({self.name!r}: {self.in_short()})"

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        return super()._apply(keeping_precision(fn), recurse)

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """The task's own parameters by group: `factors`, `routing`, `norm`, `head`, …; tied ones once.

        Raises:
            ValueError: the task has parameters that belong neither to a layer nor to the head.
        """
        groups: dict[str, list[nn.Parameter]] = {name: [] for name in ("factors", "routing", "norm", "head")}
        seen: set[int] = set()
        for group, parameter in self._grouped():
            if id(parameter) not in seen:
                seen.add(id(parameter))
                groups.setdefault(group.name, []).append(parameter)
        if odd := [name for name, parameter in self.named_parameters() if id(parameter) not in seen]:
            raise ValueError(
                f"task {self.name!r} holds parameters that belong to no layer and not to its head: {odd[0]}; what a "
                "task trains beside its layers is its head: put the module there"
            )
        return groups

    def rates(self) -> dict[str, float]:
        """The default learning rate of each group of the task's parameters: the lowest that its tensors name."""
        return lowest_rates(group for group, _ in self._grouped())

    def _grouped(self) -> Iterator[tuple[Group, nn.Parameter]]:
        for module in self.sites.modules():
            if isinstance(module, Leaves):
                for name, parameter in module._parameters.items():
                    if parameter is not None:
                        yield module.groups[name], parameter
        for parameter in () if self.head is None else self.head.parameters():
            yield HEAD, parameter

    def counts(self) -> dict[str, int]:
        """The number of parameters in each group; running statistics are not counted."""
        return {kind: sum(p.numel() for p in parameters) for kind, parameters in self.groups().items()}

    def nbytes(self) -> int:
        """The bytes of all tensors, running statistics and head included."""
        tensors: dict[int, Tensor] = {id(t): t for t in [*self.parameters(), *self.buffers()]}
        return sum(t.numel() * t.element_size() for t in tensors.values())
