"""Phases of a training: which groups of parameters train when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class Turn:
    """A pass over the training data within an epoch, and the groups that it trains.

    Attributes:
        groups: the groups of parameters that train, as `Task.groups()` names them. Empty: every group that no other
            turn of the same phase names.
        own_loss: each task trains by its own loss, without task weights, learned weights or balancing.

    Raises:
        TypeError: `groups` is not a tuple of names.
        ValueError: a group is named twice.
    """

    groups: tuple[str, ...] = ()
    own_loss: bool = False
    __pydantic_config__: ClassVar[Mapping[str, Any]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        _check_names(self.groups)
        if len({*self.groups}) != len(self.groups):
            raise ValueError(f"groups={self.groups} names a group twice; name each once")


@dataclass(frozen=True)
class Phase:
    """A stretch of epochs in which the same groups train. A training goes through its phases in order.

    Attributes:
        groups: the groups that train, in one pass over the data per epoch. Empty: all groups.
        epochs: how many epochs the phase lasts, ≥ 1. None: as many as the other phases leave; at most one phase
            may have None.
        turns: instead of `groups`, for groups that alternate within an epoch: one pass over the data for each turn.

    Raises:
        TypeError: `groups` is not a tuple of names, or `turns` not a tuple of turns.
        ValueError: `epochs` is not an integer ≥ 1, a group is named twice, or both `groups` and `turns` are given.

    Example:
        Three epochs of the factors alone, then everything:

        >>> phases = (Phase(groups=("factors",), epochs=3), Phase())

        In each epoch first the diagonals, then all the rest:

        >>> phases = (Phase(turns=(Turn(("diagonal",)), Turn())),)
    """

    groups: tuple[str, ...] = ()
    epochs: int | None = None
    turns: tuple[Turn, ...] = ()
    __pydantic_config__: ClassVar[Mapping[str, Any]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        _check_names(self.groups)
        if not isinstance(self.turns, tuple) or not all(isinstance(turn, Turn) for turn in self.turns):
            raise TypeError(f"turns must be a tuple of Turn, such as (Turn(('head',)), Turn()), found {self.turns!r}")
        if self.epochs is not None and not isinstance(self.epochs, int):
            raise TypeError(f"epochs must be a whole number ≥ 1, or None, found {self.epochs!r}")
        if self.epochs is not None and self.epochs < 1:
            raise ValueError(f"epochs={self.epochs} must be ≥ 1; leave the phase out, or let it last longer")
        if self.groups and self.turns:
            raise ValueError(f"groups={self.groups} and turns both say what trains in the phase; give one of them")
        if len({turn.groups for turn in self.passes}) != len(self.passes):
            raise ValueError("turns of one phase must differ in their groups; leave the second of them out")

    @property
    def passes(self) -> tuple[Turn, ...]:
        """The turns of each epoch of the phase, at least one."""
        return self.turns or (Turn(self.groups),)


def _check_names(groups: object) -> None:
    if not isinstance(groups, tuple) or not all(isinstance(name, str) for name in groups):
        hint = f"({groups!r},)" if isinstance(groups, str) else "('factors', 'head')"
        raise TypeError(f"groups must be a tuple of names, such as {hint}, found {groups!r}")


def epochs_of(phases: Sequence[Phase], epochs: int) -> list[int]:
    """The number of epochs of each phase, of `epochs` in all.

    Raises:
        ValueError: the phases have another number of epochs, or several phases have None.

    Example:
        >>> epochs_of([Phase(epochs=3), Phase()], 10)
        [3, 7]
    """
    check_phases(phases)
    said = sum(phase.epochs or 0 for phase in phases)
    left, is_open = epochs - said, any(phase.epochs is None for phase in phases)
    if left < is_open or (left and not is_open):
        raise ValueError(
            f"phases say {said} epochs{' and leave one phase open' if is_open else ''}, and epochs={epochs}; "
            "change epochs, or those of a phase"
        )
    return [left if phase.epochs is None else phase.epochs for phase in phases]


def check_phases(phases: Sequence[Phase], what: str = "phases") -> None:
    """Checks that `phases` is a tuple of phases, of which at most one has no number of epochs.

    Args:
        phases: the phases, in order.
        what: the argument's name, for the message.

    Raises:
        TypeError: it is not a tuple of phases.
        ValueError: several have no number of epochs.
    """
    if not isinstance(phases, (tuple, list)) or not all(isinstance(phase, Phase) for phase in phases):
        raise TypeError(
            f"{what} must be a tuple of Phase, such as (Phase(('head',), epochs=1), Phase()), found {phases!r}"
        )
    if (several := sum(phase.epochs is None for phase in phases)) > 1:
        raise ValueError(
            f"{several} phases leave their number of epochs open, and one at the most may; give epochs to the others"
        )
