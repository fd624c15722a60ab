from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ..factors import check_whole
from ._base import Leaf, Leaves, Sharing, Tensors, sharing
from ._shared import Shared


@dataclass(frozen=True)
class Tree(Sharing):
    """Sharing by depth: tasks have the first stages of the network in common, and differ above them.

    The rule depends on the layer: `shared` in the first `branch` stages, and the layers before them; above,
    the rule `above`. In between, tasks of one `group` may share stages. Stages are those that `frozen_stages`
    counts: `layer1` to `layer4` of a ResNet, the blocks of a transformer. Tasks on one batch (`broadcast=True`) run
    the common stages once.

    Args:
        branch: the number of stages that all tasks share, ≥ 1.
        above: the rule of the other stages: `private`, or a routed one.
        group: the name of the task's group; empty: the task is in none.
        grouped: the number of stages that tasks of one group share, from the first on; above `branch`.

    Raises:
        ValueError: a setting is out of its range, or does not go with another.

    Example:
        >>> rule = Tree(branch=1, group="roads", grouped=3)
        >>> [rule.at(lambda stages, depth=depth: depth < stages)[0].name for depth in range(4)]
        ['shared', 'shared', 'shared', 'private']
    """

    branch: int = 1
    above: str | Mapping[str, Any] = "private"
    group: str = ""
    grouped: int = 0
    name = "tree"

    def __post_init__(self) -> None:
        for setting in ("branch", "grouped"):
            check_whole(f"{setting} of sharing 'tree'", getattr(self, setting), int(setting == "branch"))
        if not isinstance(self.group, str) or not (self.group == "" or self.group.replace("-", "_").isidentifier()):
            raise ValueError(f"group={self.group!r} of sharing 'tree' must be a name of letters, digits, - and _")
        if bool(self.group) != bool(self.grouped):
            raise ValueError(
                f"group={self.group!r} and grouped={self.grouped} of sharing 'tree' go together: give both, or none"
            )
        if self.grouped and self.grouped <= self.branch:
            raise ValueError(
                f"grouped={self.grouped} must be more than branch={self.branch}, which all tasks share; raise it, or "
                "leave group and grouped out"
            )
        if isinstance(self.rule, (Shared, Tree)):
            raise ValueError(f"above={self.rule.name!r} does not part tasks; choose 'private' or a routed rule")

    @property
    def rule(self) -> Sharing:
        """The rule above all shared stages."""
        return sharing(self.above)

    @property
    def stages(self) -> int:
        """The number of stages that a task shares unmixed, with all others or with its group."""
        return max(self.branch, self.grouped)

    def at(self, below: Callable[[int], bool]) -> tuple[Sharing, str]:
        if below(self.branch):
            return Shared(), ""
        return (Shared(), f"@{self.group}") if self.grouped and below(self.grouped) else (self.rule, "")

    def check_found(self, found: Collection[Sharing]) -> None:
        if not any(isinstance(one, Shared) for one in found):
            raise ValueError(
                f"sharing 'tree' shares nothing: no layer that the method adapts lies in the first {self.branch} "
                "stages of the network, or all that do are frozen; raise branch, or adapt layers there (targets, stem)"
            )

    def rules(self) -> tuple[Sharing, ...]:
        return Shared(), self.rule

    def inventory(self, leaves: Leaves) -> dict[str, Leaf]:
        return self.rule.inventory(leaves)

    def own(self, leaves: Leaves) -> dict[str, Leaf]:
        return self.rule.own(leaves)

    def select(self, inventory: Tensors, own: Tensors, leaves: Leaves, training: bool) -> Tensors:
        return self.rule.select(inventory, own, leaves, training)
