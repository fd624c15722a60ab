"""The interface of sharing rules."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from typing import Any, ClassVar

from torch import Tensor

from ..factors import Leaf

Leaves = Mapping[str, Leaf]
Tensors = Mapping[str, Tensor]


@dataclasses.dataclass(frozen=True)
class Sharing(ABC):
    """A rule that splits a factorisation's leaves between the model and its tasks. Fields are its settings."""

    name: ClassVar[str]
    keeps_leaves: ClassVar[bool] = False
    """Whether a new task's leaves are the factorisation's initial ones, not a mixture of several."""

    @abstractmethod
    def inventory(self, leaves: Leaves) -> dict[str, Leaf]:
        """The leaves that the model holds once, for all tasks.

        Raises:
            ValueError: the rule cannot share such leaves; the message has the reason.
        """

    @abstractmethod
    def own(self, leaves: Leaves) -> dict[str, Leaf]:
        """The leaves that each task holds for itself."""

    @abstractmethod
    def select(self, inventory: Tensors, own: Tensors, leaves: Leaves, training: bool) -> Tensors:
        """The leaves that a task uses; for stacked `own`, those of several tasks, `[T, …]`."""

    def draws_per_row(self, training: bool) -> bool:
        """Whether each row of a batch gets a random selection of its own."""
        return False

    def at(self, below: Callable[[int], bool]) -> tuple[Sharing, str]:
        """The rule at a layer, and a suffix that tells its inventory from others at the same layer.

        Args:
            below: number of stages → whether the layer is in these first stages of the network, or before them.
        """
        del below
        return self, ""

    def check_found(self, found: Collection[Sharing]) -> None:
        """Checks the rules that `at` has given to the layers that a new task adapts.

        Raises:
            ValueError: they are not what the rule says.
        """
        del found

    def rules(self) -> tuple[Sharing, ...]:
        """The rules that layers may have."""
        return (self,)


def sharing(spec: str | Mapping[str, Any]) -> Sharing:
    """The rule of a name, or of `{"name": …, <setting>: …}`.

    Raises:
        ValueError: no rule has that name, or it has no such setting.

    Example:
        >>> sharing({"name": "poly", "skills": 4}).skills
        4
    """
    if not isinstance(spec, (str, Mapping)):
        raise ValueError(f"sharing must be a rule's name, or a mapping of name and settings, found {spec!r}")
    settings = {"name": spec} if isinstance(spec, str) else dict(spec)
    name = settings.pop("name", None)
    rules = _by_name()
    if name not in rules:
        raise ValueError(f"sharing={name!r} is not known; choose one of {', '.join(map(repr, sorted(rules)))}")
    known = [field.name for field in dataclasses.fields(rules[name])]
    for key in settings:
        if key not in known:
            raise ValueError(f"sharing {name!r} has no setting {key!r}; settings: {', '.join(known) or 'none'}")
    return rules[name](**settings)


def _by_name() -> dict[str, type[Sharing]]:
    found: dict[str, type[Sharing]] = {}
    kinds: list[type[Sharing]] = [Sharing]
    while kinds:
        kinds += (below := kinds.pop().__subclasses__())
        found |= {kind.name: kind for kind in below if "name" in kind.__dict__}
    return found
