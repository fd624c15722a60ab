"""The steps of texts that a network writes for a mixed batch: its forward passes after the prompts'."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from ..layers import PLAIN, OnPath, OtherPathError
from ._known import Known
from ._outputs import rows_of
from ._rows import Batch

_RUNNING = threading.local()
_CALL = "_call_impl"
"""The method of torch's by which a module is called, hooks included."""


class UnseenStepError(Exception):
    """A step of a text whose rows have not been located.

    Attributes:
        batch: its inputs; None: it has begun to run, and its caches are written in part.
        number: its number; 0 is the prompts'.
        taken: the numbers that it has read.
    """

    def __init__(self, batch: Batch | None, number: int, taken: tuple[Any, ...] = ()) -> None:
        super().__init__(f"step {number} of a text takes another path than when its rows were looked for")
        self.batch, self.number, self.taken = batch, number, taken


class Steps:
    """Run a block in which the steps of a text follow what is known of them.

    Args:
        known: the findings about steps, one for each path, by their kind.
        stop: the number of a step that is not run, but raised.

    Raises:
        UnseenStepError: a step is of no known kind, reads other numbers, or is the one to stop at.
    """

    def __init__(self, known: Mapping[object, tuple[Known, ...]], stop: int | None = None) -> None:
        self.known, self.stop, self.number = known, stop, -1

    def __enter__(self) -> None:
        self._outer = getattr(_RUNNING, "steps", None)
        _RUNNING.steps = self

    def __exit__(self, *error: object) -> None:
        _RUNNING.steps = self._outer

    def run(self, call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Runs a pass of the whole network."""
        self.number += 1
        if not self.number:
            return call(*args, **kwargs)
        batch = Batch.of(args, kwargs, rows_of(args, kwargs))
        known = self.known.get(kind_of(batch), ())
        if not known or self.number == self.stop:
            raise UnseenStepError(batch, self.number)
        paths = [(one.decisions, one.each) for one in known]
        if not any(decisions for decisions, _ in paths):
            return call(*args, **kwargs)
        try:
            with OnPath(paths, batch.rows):
                return call(*args, **kwargs)
        except OtherPathError as error:
            raise UnseenStepError(None, self.number, error.taken) from None


def stepped(network: nn.Module) -> nn.Module:
    """The skeleton, whose passes `Steps` hears from now on."""
    call = network._call_impl
    if _CALL not in network.__dict__:

        def run(*args: Any, **kwargs: Any) -> Any:
            steps: Steps | None = getattr(_RUNNING, "steps", None)
            return call(*args, **kwargs) if steps is None else steps.run(call, args, kwargs)

        network.__dict__[_CALL] = run
    return network


def kind_of(batch: Batch) -> object:
    """What the inputs of a step have in common with those of later ones: all but sizes and numbers."""
    return str(batch.form), batch.rows, *map(_kind, batch.leaves)


def _kind(leaf: object) -> object:
    if isinstance(leaf, Tensor):
        return leaf.dim(), leaf.dtype
    return leaf if isinstance(leaf, PLAIN) and type(leaf) not in (int, float) else type(leaf)
