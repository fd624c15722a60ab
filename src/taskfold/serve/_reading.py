"""What a kind of task does with an input, and with what the network puts out for it."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Literal, Protocol


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


class Reading(Protocol):
    """How one task reads inputs and words its answers. Both run outside of the batcher, for one request alone.

    Attributes:
        takes: the form of input.
        shape: of the tensor that an image becomes; None: of any size.
    """

    takes: Literal["image", "text"]
    shape: tuple[int, ...] | None

    def ready(self, given: Any, **asked: Any) -> Ready:
        """An RGB picture of PIL, or a text, made ready.

        Raises:
            InputError: it cannot be.
        """
        ...

    def said(self, output: Any, ready: Ready) -> dict[str, Any]:
        """An answer as JSON."""
        ...
