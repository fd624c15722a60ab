"""What every sharing rule answers: what the model holds once, what each task holds, and how the two meet."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from ..factors import Leaf

Leaves = Mapping[str, Leaf]
Tensors = Mapping[str, Tensor]


class Sharing(ABC):
    """A rule that splits a factorisation's leaves between the model and its tasks.

    A routed rule holds an inventory with an extra axis in `inventory`, its logits in `own` (group
    `"routing"`), and mixes in `select`. It checks in `inventory` that the leaves have the axis it routes.
    """

    name: ClassVar[str]

    @abstractmethod
    def inventory(self, leaves: Leaves) -> dict[str, Leaf]:
        """What the model holds once, for all tasks."""

    @abstractmethod
    def own(self, leaves: Leaves) -> dict[str, Leaf]:
        """What each task holds for itself."""

    @abstractmethod
    def select(self, inventory: Tensors, own: Tensors) -> Tensors:
        """The leaves that one task uses."""


def sharing(name: str) -> Sharing:
    """The rule of that name.

    Raises:
        ValueError: no rule has that name.
    """
    rules = {rule.name: rule for rule in Sharing.__subclasses__()}
    if name not in rules:
        raise ValueError(f"sharing={name!r} is not known; choose one of {', '.join(map(repr, sorted(rules)))}")
    return rules[name]()
