"""Readings: how a kind of task reads inputs, and words the network's outputs."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from ._errors import InputError

Form = Literal["image", "text"]


@dataclass(frozen=True)
class Asked:
    """A caller's options for answers.

    Attributes:
        top: the number of classes to list, the likeliest first.
        choices: texts to choose from; empty: the task's own.

    Raises:
        ValueError: `top` is below 1.
    """

    top: int = 5
    choices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.top < 1:
            raise ValueError(f"top must be at least 1, found {self.top}")

    def refuse_choices(self) -> None:
        """Refuse choices, for a task that does not choose among texts.

        Raises:
            InputError: there are choices.
        """
        if self.choices:
            raise InputError("choices are for tasks that answer texts; leave them out")


@dataclass(frozen=True)
class Ready:
    """An input prepared for the network.

    Attributes:
        group: a `Group`; inputs of equal groups can share a forward pass.
        value: the row that the group runs.
        about: data on the input for `Reading.said`.
    """

    group: Hashable
    value: Any
    about: Any = None


@dataclass(frozen=True)
class Given:
    """A decoded input: an RGB picture of PIL, or a text."""

    form: Form
    content: Any
    made: dict[Hashable, Ready] = field(default_factory=dict, compare=False)
    """Prepared inputs, by the `way` of readings."""


class Reading(Protocol):
    """How one task reads inputs and words its answers, outside of the batcher."""

    @property
    def takes(self) -> Form: ...

    @property
    def shape(self) -> tuple[int | None, ...] | None:
        """The shape of an input's tensor, with None for any size; None: the input is not a tensor."""
        ...

    @property
    def way(self) -> Hashable:
        """A key: readings with equal keys prepare an input equally."""
        ...

    def ready(self, content: Any, asked: Asked) -> Ready:
        """An input prepared for the network.

        Raises:
            InputError: it cannot be prepared; the caller of the reading adds the task's name.
        """
        ...

    def said(self, output: Any, ready: Ready, asked: Asked) -> dict[str, Any]:
        """An answer as JSON."""
        ...
