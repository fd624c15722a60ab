"""Broadcasts: passes of several tasks on one batch, which get the same inputs and module state."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from ..layers import PLAIN, Selection, recomputes, spread, worth_sharing
from ._again import Undo
from ._features import kept_features
from ._kept import own_state
from ._looking import check_untraced
from ._outputs import rows_of
from ._rows import copied
from ._writing import Writing


def own_inputs(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A copy of a pass's inputs, for passes that write to tensors or caches; equal objects stay one object."""
    if torch.compiler.is_compiling():
        return args, dict(kwargs)
    made: dict[int, Any] = {}

    def own(value: Any) -> Any:
        if isinstance(value, PLAIN):
            return value
        if id(value) not in made:
            made[id(value)] = copied(value)
        return made[id(value)]

    return tuple(map(own, args)), {name: own(value) for name, value in kwargs.items()}


class Broadcasting(Writing):
    """Runs broadcasts."""

    shares: dict[bool, bool]
    """Whether `vmap` supports the network, by mode, as far as known."""

    @abstractmethod
    def run(self, selection: Selection, args: tuple[Any, ...], kwargs: dict[str, Any], method: str = "__call__") -> Any:
        """Runs a pass."""

    def run_each(
        self, together: Selection, changed: Sequence[Container[str]], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> list[Any]:
        """Runs a broadcast: the same batch for each of several tasks, in one pass if possible.

        Tasks run one after another if that is faster (they differ from the first layers on, and the batch has more than
        one row), under a compiler or gradient checkpointing, and if `torch.vmap` does not support the network.

        Args:
            together: the selection for all tasks.
            changed: for each task, the paths of the modules that it changes.
            args, kwargs: the backbone's inputs.
        """
        check_untraced()
        tasks = together.answers.entries()

        def run(now: Selection) -> Any:
            mine, named = own_inputs(args, kwargs)
            with own_state(self.backbone):
                return self.run(now, mine, named)

        def one_by_one() -> list[Any]:
            return [run(together.of_one(n)) for n in range(tasks)]

        training = together.training
        known = self.shares.get(training)
        if tasks == 1 or known is False or torch.compiler.is_compiling():
            return one_by_one()
        if torch.is_grad_enabled() and recomputes(self.backbone):
            return one_by_one()
        if (features := kept_features(self)) is not None and features.parts(self.moving(training)):
            return one_by_one()
        rows = rows_of(args, kwargs)
        if not rows or (rows > 1 and not worth_sharing(self.backbone, changed)):
            return one_by_one()  # with one row a shared pass pays, since calls dominate
        undo = Undo(together)
        try:
            found = spread(tasks, lambda into: run(replace(together, spread=into)))
            self.shares[training] = True
            return found
        except Exception as error:
            undo()
            found = one_by_one()  # raises if the input is at fault
            self.shares[training] = False
            warnings.warn(
                f"{type(self.backbone).__name__} runs tasks one after another, since one pass cannot serve several: "
                f"{error}",
                stacklevel=4,
            )
            return found
