"""Gradient checkpointing: the task of a pass is kept for its recomputation."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.utils.checkpoint as checkpointing
from torch import Tensor
from torch.utils._pytree import tree_leaves

from ..layers import PLAIN, OthersStateError, Selection, Unwritten, running, selecting

_ORIGINAL, _NONE = checkpointing.checkpoint, checkpointing.noop_context_fn


def checkpoint_context() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Keeps the task of a forward pass for its recomputation in the backward pass.

    Use: `torch.utils.checkpoint(…, use_reentrant=False, context_fn=checkpoint_context)`. The forward pass alone updates
    running statistics. Outside of a model, where the plain network or a fold runs, it does nothing.
    """
    now = running()
    return nullcontext(), nullcontext() if now is None else _Again(now)


class Written:
    """The tensors that a training pass writes (running statistics), with their values before the pass."""

    def __init__(self, selection: Selection) -> None:
        written = selection.answers.written() if selection.training else []
        self.kept = [(tensor, tensor.detach().clone()) for tensor in written]

    @torch.no_grad()
    def put_back(self) -> None:
        """Restores the values, through `data`, since a backward pass may still need the tensors' versions."""
        for tensor, before in self.kept:
            tensor.data.copy_(before)


class Undo:
    """Restores, when called, what a pass has changed: statistics and the states of torch's random generators."""

    def __init__(self, selection: Selection) -> None:
        self.written = Written(selection)
        self.random = torch.get_rng_state(), torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []

    def __call__(self) -> None:
        self.written.put_back()
        torch.set_rng_state(self.random[0])
        if self.random[1]:
            torch.cuda.set_rng_state_all(self.random[1])


def once_more(
    unwritten: Unwritten, selection: Selection, call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Runs a pass that must not write the backbone; arguments as for `Unwritten.run`.

    A pass that was about to go on from what other tasks have left runs once more, from its own task's state, unless it
    may have written into its inputs.
    """
    way = selection.rows is not None, selection.spread is not None
    if (selection.training, way) not in unwritten.known:
        undo, leaves = Undo(selection), tree_leaves((args, kwargs))
        before = _versions(leaves)
        try:
            return unwritten.run(selection.training, call, args, kwargs, way)
        except OthersStateError:
            if not all(isinstance(leaf, (Tensor, *PLAIN)) for leaf in leaves) or _versions(leaves) != before:
                raise
            undo()
            selection.left.clear()
    return unwritten.run(selection.training, call, args, kwargs, way)


def _versions(leaves: list[Any]) -> list[int]:
    return [leaf._version for leaf in leaves if isinstance(leaf, Tensor) and not leaf.is_inference()]


class _Again(selecting):
    """The selection of a recomputed pass, which restores the statistics that it writes."""

    def __init__(self, selection: Selection) -> None:
        super().__init__(selection)
        self.written: list[Written] = []

    def __enter__(self) -> None:
        self.written.append(Written(self.selection))
        super().__enter__()

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self.written.pop().put_back()


class recomputing:
    """Run a block in which `torch.utils.checkpoint.checkpoint` keeps the task of the pass that calls it.

    Calls outside of a pass, also in other threads, and calls with their own `context_fn` are unchanged.
    """

    _lock, _blocks = threading.Lock(), 0

    def __enter__(self) -> None:
        with self._lock:
            recomputing._blocks += 1
            checkpointing.checkpoint = _checkpoint  # type: ignore[assignment]

    def __exit__(self, *error: object) -> None:
        with self._lock:
            recomputing._blocks -= 1
            if not recomputing._blocks:
                checkpointing.checkpoint = _ORIGINAL


def _checkpoint(function: Callable[..., Any] | None = None, *args: Any, **kwargs: Any) -> Any:
    now = running()
    if function is None or now is None or kwargs.get("context_fn", _NONE) is not _NONE:
        return _ORIGINAL(function, *args, **kwargs)  # type: ignore[arg-type]
    if kwargs.get("use_reentrant") is False:
        return _ORIGINAL(function, *args, **kwargs, context_fn=checkpoint_context)
    ran = False

    def again(*inputs: Any, **named: Any) -> Any:
        nonlocal ran
        with _Again(now) if ran else nullcontext():
            ran = True
            return function(*inputs, **named)

    return _ORIGINAL(again, *args, **kwargs)
