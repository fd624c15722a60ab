"""Broadcast: one pass of a batch for several tasks, in which computation that no task changes runs once.

The network runs under `torch.vmap` over tasks. A tensor gets the axis of tasks at the first adapted layer; tensors
that do not depend on an adapted layer are computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_unflatten

from ..kinds import WeightKind, kind_of
from ._cut import PLAIN

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
_TENSOR = object()
SHARED = 0.2
"""The least share of the network's layers before the first adapted one for which a common pass pays."""


class NotSharedError(RuntimeError):
    """A network's operation or output does not work for several tasks at once."""


_FORCED: list[bool] = []


@contextmanager
def sharing_passes(always: bool) -> Iterator[None]:
    """Run a block in which broadcasts always share a pass, or never: for tests of both ways."""
    _FORCED.append(always)
    try:
        yield
    finally:
        _FORCED.pop()


def worth_sharing(network: nn.Module, changed: Sequence[Container[str]]) -> bool:
    """Whether a broadcast is faster in one pass: enough layers run before the first that a task changes.

    Args:
        network: the backbone.
        changed: for each task, the paths of the modules that it changes.
    """
    if _FORCED:
        return _FORCED[-1]
    layers, before = 0, None
    for name, module in network.named_modules():
        if before is None and any(name in one for one in changed):
            before = layers
        layers += isinstance(kind_of(module), WeightKind)
    return before is None or before >= SHARED * layers


def spread(tasks: int, run: Callable[[Spread], Any]) -> list[Any]:
    """The outputs of one pass for each of several tasks.

    Args:
        tasks: number of tasks.
        run: runs the pass, with the given `Spread` in its selection.

    Raises:
        NotSharedError: the output holds other values than tensors, numbers and names.
        RuntimeError: `torch.vmap` does not support an operation of the network.
    """
    rest: list[Any] = []

    def once(which: Tensor) -> tuple[Tensor, ...]:
        spreading = Spread(which)
        try:
            with _ByRows(spreading):
                output = run(spreading)
        finally:
            spreading.runs = False
        leaves, form = tree_flatten(output)
        if odd := next((leaf for leaf in leaves if not isinstance(leaf, (Tensor, *PLAIN))), None):
            raise NotSharedError(f"it puts out a {type(odd).__name__} (of language models: use_cache=False)")
        rest[:] = _without_tensors(leaves), form
        return tuple(leaf for leaf in leaves if isinstance(leaf, Tensor))

    stacked = torch.vmap(once, randomness="same")(torch.arange(tasks, device="cpu"))
    leaves, form = rest
    return [_filled(leaves, form, [tensor[n] for tensor in stacked]) for n in range(tasks)]


class Spread:
    """The state of a broadcast under `vmap`, for the layers.

    Args:
        which: the index of the task, batched by `vmap`.

    Attributes:
        runs: the pass is under way.
        differs: a layer has run that differs by task.
    """

    def __init__(self, which: Tensor) -> None:
        self.which, self.runs, self.differs = which, True, False

    def own(self, held: Tensor) -> Tensor:
        """Each task's slice of a tensor `[T, …]`, batched by `vmap`: from here on tasks differ."""
        self.differs = True
        return held.index_select(0, self.which[None]).squeeze(0)

    def call(
        self,
        function: Callable[[int, Arguments, Arguments | None, Sequence[bool]], Any],
        arguments: Arguments,
        rows: tuple[int, ...] = (0,),
    ) -> Any:
        """Calls a function outside `vmap` with the rows of all tasks, one task after another.

        Args:
            function: takes the number of tasks, the arguments of all tasks (`[B, …]` becomes `[T·B, …]`), the
                arguments of one task (None if tasks differ already), and for each tensor whether it has rows of each
                task. A tensor common to all tasks whose first axis is not the batch's stays unrepeated.
            arguments: of the function.
            rows: the axis of rows in each output; the last one holds for all that follow.

        Raises:
            NotSharedError: the pass is over, and a checkpoint recomputes this part of it.
        """
        if not self.runs:
            raise NotSharedError(
                "gradient checkpointing cannot recompute a pass that several tasks share; run the tasks one by one"
            )
        self.differs = True
        leaves, form = tree_flatten(arguments)
        others, rest = _without_tensors(leaves), list[Any]()

        def run(tasks: int, axes: Sequence[int | None], tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
            batch = tensors[0].shape[0 if axes[0] is None or axes[0] else 1]
            apart = [
                axis is not None or (t.dim() > 0 and len(t) == batch) for t, axis in zip(tensors, axes, strict=True)
            ]
            wide = [
                _rows(tensor, axis, tasks) if one else tensor
                for tensor, axis, one in zip(tensors, axes, apart, strict=True)
            ]
            single = None if any(axis is not None for axis in axes) else _filled(others, form, tensors)
            output, shape = tree_flatten(function(tasks, _filled(others, form, wide), single, apart))
            rest[:] = _without_tensors(output), shape
            made = [leaf for leaf in output if isinstance(leaf, Tensor)]
            placed = [(leaf, rows[min(n, len(rows) - 1)]) for n, leaf in enumerate(made)]
            return tuple(leaf.unflatten(axis, (tasks, -1)).movedim(axis, 0) for leaf, axis in placed)

        made = _OfAllTasks.apply(run, self.which, *(leaf for leaf in leaves if isinstance(leaf, Tensor)))
        kept, shape = rest
        return _filled(kept, shape, made)  # type: ignore[arg-type]


class _OfAllTasks(torch.autograd.Function):
    """Calls a function outside `vmap`, on tensors with their axis of tasks."""

    generate_vmap_rule = False

    @staticmethod
    def forward(run: Callable[..., Any], which: Tensor, *tensors: Tensor) -> Any:
        raise NotSharedError("the pass runs outside vmap")

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None: ...

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> Any:
        run, _, *tensors = args
        made = run(info.batch_size, in_dims[2:], tensors)
        return made, (0,) * len(made)


class _ByRows(TorchFunctionMode):
    """Runs functions for which `vmap` has no rule in one call for all tasks, not one by one with a warning."""

    FUNCTIONS = frozenset({F.scaled_dot_product_attention, F.max_unpool1d, F.max_unpool2d, F.max_unpool3d})

    def __init__(self, spreading: Spread) -> None:
        super().__init__()
        self.spreading = spreading

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        arguments = args, dict(kwargs or {})
        if func is F.scaled_dot_product_attention:
            arguments = _with_wide_mask(*arguments)
        if self.spreading.differs and func in self.FUNCTIONS:
            return self.spreading.call(lambda _, every, *__: func(*every[0], **every[1]), arguments)
        if self.spreading.differs and func is F.multi_head_attention_forward:
            return self._torch_attention(*arguments)
        return func(*arguments[0], **arguments[1])

    def _torch_attention(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The function of `nn.MultiheadAttention`, which hides its kernel's call; its batch is the second axis."""
        weights, hidden, mask = args[3:], kwargs.get("key_padding_mask"), kwargs.get("attn_mask")
        if args[0].dim() != 3 or (mask is not None and mask.dim() == 3):
            return F.multi_head_attention_forward(*args, **kwargs)

        def attend(_: int, every: Arguments, *__: object) -> Any:
            *inputs, rows = every[0]
            swapped = (tensor.transpose(0, 1) for tensor in inputs)
            y, scores = F.multi_head_attention_forward(*swapped, *weights, **kwargs | {"key_padding_mask": rows})
            return y.transpose(0, 1), scores

        inputs = (*(tensor.transpose(0, 1) for tensor in args[:3]), hidden)
        y, scores = self.spreading.call(attend, (inputs, {}))
        return y.transpose(0, 1), scores


def _with_wide_mask(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
    """Attention's arguments with a mask of as many axes as the query: `[L, S]` would pass for L rows."""
    query, key, value, mask, *others = (*args, *[None] * (4 - len(args)))
    mask, query = kwargs.pop("attn_mask", mask), kwargs.pop("query", query)
    key, value = kwargs.pop("key", key), kwargs.pop("value", value)
    if mask is not None:
        mask = mask.reshape((1,) * (query.dim() - mask.dim()) + tuple(mask.shape))
    return (query, key, value, mask, *others), kwargs


def _rows(tensor: Tensor, axis: int | None, tasks: int) -> Tensor:
    return torch.cat([tensor] * tasks) if axis is None else tensor.movedim(axis, 0).flatten(0, 1)


def _without_tensors(leaves: Sequence[Any]) -> list[Any]:
    return [_TENSOR if isinstance(leaf, Tensor) else leaf for leaf in leaves]


def _filled(leaves: Sequence[Any], form: Any, tensors: Sequence[Tensor]) -> Any:
    following = iter(tensors)
    return tree_unflatten([next(following) if leaf is _TENSOR else leaf for leaf in leaves], form)
