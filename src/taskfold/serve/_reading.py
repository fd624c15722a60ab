"""What a kind of task does with an input, and with what the network puts out for it."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from ._errors import InputError

Form = Literal["image", "text"]


@dataclass(frozen=True)
class Asked:
    """How a caller wants answers.

    Attributes:
        top: classes to list, the likeliest first.
        choices: texts to choose from; empty: as the task has them.

    Raises:
        ValueError: `top` is below 1.
    """

    top: int = 5
    choices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.top < 1:
            raise ValueError(f"top must be at least 1, found {self.top}")

    def refuse_choices(self) -> None:
        """For a task that does not choose among texts.

        Raises:
            InputError: the caller gives some.
        """
        if self.choices:
            raise InputError("choices are for tasks that answer texts; leave them out")


@dataclass(frozen=True)
class Ready:
    """An input that is ready for the network.

    Attributes:
        group: a `Group`; inputs of equal groups can share a forward pass.
        value: what the group runs.
        about: what `Reading.said` needs to know of the input.
    """

    group: Hashable
    value: Any
    about: Any = None


@dataclass(frozen=True)
class Given:
    """An input that was decoded: an RGB picture of PIL, or a text."""

    form: Form
    content: Any
    made: dict[Hashable, Ready] = field(default_factory=dict, compare=False)
    """What readings have made of it, by their `way`."""


class Reading(Protocol):
    """How one task reads inputs and words its answers, outside of the batcher."""

    @property
    def takes(self) -> Form:
        """The form of input."""
        ...

    @property
    def shape(self) -> tuple[int | None, ...] | None:
        """Of the tensor that an input becomes, None where any size will do; None: there is no such tensor."""
        ...

    @property
    def way(self) -> Hashable:
        """Readings that are equal in this make the same of an input."""
        ...

    def ready(self, content: Any, asked: Asked) -> Ready:
        """An input made ready.

        Raises:
            InputError: it cannot be; who asks the reading names the task.
        """
        ...

    def said(self, output: Any, ready: Ready, asked: Asked) -> dict[str, Any]:
        """An answer as JSON."""
        ...
