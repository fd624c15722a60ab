"""Detects tensors whose order of rows depends on numbers of the input: experts, packed or sorted rows, regions."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from ._layout import Mark
from ._listening import Go
from ._path import ByRow, is_answer, size_of
from ._told import Told, not_followed

FIXED, DATA, POOLED, CHOSEN = range(4)
"""Levels of dependence on the input: none; some; on a number that all rows share (a maximum, a mean); in row order."""

_SIZED_BY_DATA = frozenset(
    (
        *("nonzero", "nonzero_static", "masked_select", "masked_scatter", "masked_scatter_", "repeat_interleave"),
        *("unique_dim", "unique_consecutive", "unique_dim_consecutive", "_unique", "_unique2", "bincount"),
        *("_pack_padded_sequence", "_pad_packed_sequence", "nms", "roi_align", "roi_pool"),
        *("ps_roi_align", "ps_roi_pool"),
    )
)
_PICKS = frozenset(
    (
        *("index_select", "gather", "scatter", "scatter_", "scatter_add", "scatter_add_", "scatter_reduce"),
        *("scatter_reduce_", "index_add", "index_add_", "index_copy", "index_copy_", "index_reduce", "index_reduce_"),
    )
)
_SORTS = frozenset(("sort", "topk", "kthvalue", "msort"))
_POOLS = frozenset(
    (
        *("max", "min", "amax", "amin", "aminmax", "argmax", "argmin", "any", "all", "median", "nanmedian", "mode"),
        *("sum", "nansum", "mean", "var", "std", "var_mean", "std_mean", "prod", "logsumexp", "linalg_vector_norm"),
        *("norm", "count_nonzero", "cumsum", "cumprod", "cummax", "cummin", "logcumsumexp", "_softmax", "_log_softmax"),
    )
)
_FLATTENS = frozenset(
    (
        *("relu", "relu_", "threshold", "threshold_", "hardtanh", "hardtanh_", "clamp", "clamp_", "clamp_min"),
        *("clamp_min_", "clamp_max", "clamp_max_", "hardswish", "hardswish_", "hardsigmoid", "hardsigmoid_", "sigmoid"),
        *("sigmoid_", "elu", "elu_", "gelu", "silu", "silu_", "softshrink", "hardshrink", "tanh", "tanh_", "round"),
    )
)
_COMPARES = frozenset(("gt", "lt", "ge", "le", "eq", "ne"))
_STEPS = _COMPARES | _SORTS | {"argmax", "argmin", "argsort", "round", "floor", "ceil", "trunc", "sign", "bucketize"}
_RARE = frozenset(("isinf", "isnan", "isfinite", "isposinf", "isneginf"))
_INDEXES = frozenset(("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put"))
_NEW = frozenset(
    (
        *("lift_fresh", "lift_fresh_copy", "zeros_like", "ones_like", "full_like", "empty_like"),
        *("new_zeros", "new_ones", "new_full", "new_empty"),
    )
)
_MASKED: Mapping[str, tuple[Sequence[int], Sequence[set[bool]]]] = {
    "where": ((0,), ({True}, {False})),
    **dict.fromkeys(("masked_fill", "masked_fill_"), ((1,), ({True},))),
    **dict.fromkeys(("mul", "mul_"), ((0, 1), ({False},))),
}
"""Operations with masks, the positions of these, and the masks (all true, all false) that hide other numbers."""
_PRODUCTS = {"mm": (0, 1), "addmm": (1, 2), "bmm": (0, 1), "baddbmm": (1, 2)}
"""Products of matrices, and the positions of the factors among the arguments."""


class Origins(Told):
    """Follows the dependence on the input through one pass of a network.

    Args:
        rows: number of rows of the batch.

    Attributes:
        read: integers that the pass has read from values of the input: later sizes or indices, perhaps.
        dead: rows are equal behind a ReLU or a layer of zeros, so that later tensors can't tell them apart.
        asked: Python has read a number that layers have computed, and a task's layers may compute another.
        steps: a step function has been taken of such a number: what changes it may show in a task alone.
        unsure: each decision that some of the rows alone may make otherwise, by its index, and whether each of these
            rows by itself makes it like all; negative indices for lists, and for masks that are the same for all rows.
    """

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.rows = rows
        self.read: list[Any] = []
        self.unsure: dict[int, tuple[object, bool]] = {}
        self.dead = self.asked = self.steps = False
        self._behind: set[int | None] = set()
        """Where numbers lie that layers have made, which tasks change."""
        self._rows: set[int | None] = set()
        """Memory of what depends on tensors that have something for each row."""
        self.otherwise: dict[int, Tensor] = {}
        """For decisions that some rows by themselves make otherwise, by index: these rows."""
        self._by_row = ByRow(rows)
        self._rare: set[int | None] = set()
        """Memory of masks of NaN or infinite numbers, which matter in broken passes alone."""
        self._paired: set[int | None] = set()
        """Memory of tensors whose numbers each belong to a pair of rows: a sum over one axis mixes rows."""
        self._levels: dict[int, int] = {}
        """Levels by storage."""
        self._kept: dict[int, StorageWeakRef] = {}
        """References that keep the ids of freed storages from being reused by new ones."""

    def follow(self, inputs: Iterable[Tensor], shared: Collection[int]) -> None:
        """Begins with these tensors; `shared`: the ids of those that hold nothing for each row."""
        for tensor in inputs:
            self._mark(tensor, DATA)
            if id(tensor) not in shared:
                self._rows.add(storage_of(tensor))

    def made(self, output: Iterable[object]) -> None:
        """A layer that tasks change has put this out."""
        for tensor in output:
            if isinstance(tensor, Tensor):
                self._behind.add(storage_of(tensor))
                self.dead = self.dead or (self.level(tensor) > FIXED and self._equal(tensor))

    def leaves(self, tensor: Tensor) -> None:
        super().leaves(tensor)
        self.asked = self.asked or storage_of(tensor) in self._behind
        if self.level(tensor):
            with not_followed():
                self.read.append(tensor.tolist())
            if storage_of(tensor) in self._rows and (not tensor.dim() or len(tensor) % self.rows):
                self.unsure[-1] = self.read[-1], False

    def chosen(self, value: object) -> bool:
        """Whether the order of rows in a tensor depends on the input."""
        return self.level(value) == CHOSEN

    def pooled(self, value: object) -> bool:
        """Whether a tensor depends on a number that all rows share."""
        return self.asked or (isinstance(value, Tensor) and value.dim() > 0 and self.level(value) == POOLED)

    def level(self, value: object) -> int:
        """The tensor's level."""
        key = storage_of(value) if isinstance(value, Tensor) else None
        return FIXED if key is None else self._levels.get(key, FIXED)

    def _mark(self, tensor: Tensor, level: int) -> None:
        if (key := storage_of(tensor)) is None:
            return
        self._levels[key] = level
        if key not in self._kept and (level or key in self._rare):
            self._kept[key] = StorageWeakRef(tensor.untyped_storage())

    def hear(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], go: Go) -> Any:
        name = func.overloadpacket.__name__
        inputs = [*tensors_in(args), *tensors_in(kwargs.values())]
        before = max(map(self.level, inputs), default=FIXED)
        known = {storage_of(tensor) for tensor in inputs}
        output = super().hear(func, args, kwargs, go)
        if name == "_local_scalar_dense" and before and not args[0].is_floating_point() and args[0].dtype != torch.bool:
            self.read.append(output)
        level = FIXED if name in _NEW else CHOSEN if before and self._chooses(func, args, kwargs) else before
        if level == DATA and (self._multiplies(name, args) or (name in _POOLS and self._pools(func, args, kwargs))):
            level = POOLED
        rare = name in _RARE or (name in ("eq", "ne") and _asks_for_none(args)) or (bool(known) and known <= self._rare)
        behind = not known.isdisjoint(self._behind)
        size = size_of(func, args, output)
        self.asked = self.asked or (behind and not rare and (is_answer(output) or size is not None))
        self.steps = self.steps or (behind and not rare and name in _STEPS and args[0].is_floating_point())
        rowed = not known.isdisjoint(self._rows)
        if rowed and not behind and not rare and size is not None:
            self.unsure[len(self.decisions) - 1] = f"a size of {list(size)}", 0 in size  # any rows leave as few
        sure = True if name == "equal" else self._by_row.sure(args[0]) if args else None
        if rowed and not behind and not rare and is_answer(output) and sure is not output:
            with not_followed():
                others = self._by_row.otherwise(args[0])
                differ = others is not None and bool(others.any())
                self.unsure[len(self.decisions) - 1] = output, others is not None and not differ
                if others is not None and differ and not isinstance(output, float):
                    self.otherwise[len(self.decisions) - 1] = others.nonzero()[:, 0].cpu()
        if name in _MASKED and all(map(self.level, args[: 3 if name == "where" else 2])):
            for mask in (args[n] for n in _MASKED[name][0]):
                if (key := storage_of(mask)) in self._rows and key not in self._behind:
                    with not_followed():
                        alike = {bool(mask.any()), bool(mask.all())}
                    if alike in _MASKED[name][1]:  # nobody sees what the other numbers hold
                        self.unsure[-2] = f"a mask of {alike == {True}}", False
        if (
            before
            and not self.dead
            and isinstance(output, Tensor)
            and (name in _FLATTENS or (behind and not rare and name in _COMPARES))
        ):
            self.dead = self._equal(output)
        paired = before and self._pairs(inputs, output)
        outputs = {storage_of(tensor): tensor for tensor in tensors_in((output,))}
        self._paired.difference_update(outputs.keys() - known)
        if paired:
            self._paired.update(outputs)
        for held, so in ((self._rare, rare), (self._behind, behind), (self._rows, rowed)):
            (held.update if so else held.difference_update)(outputs)
        if rowed:
            self._by_row.note(func, args, output)
        for key, tensor in outputs.items():
            self._mark(tensor, max(level, self.level(tensor)) if key in known else level)
        return output

    def _equal(self, tensor: Tensor) -> bool:
        """Whether some rows of a tensor are equal."""
        numbers = tensor.is_floating_point() or tensor.dtype == torch.bool
        if not numbers or not tensor.dim() or not len(tensor) or len(tensor) % self.rows:
            return False
        with not_followed():
            slices = Mark.of(tensor, self.rows).slices[0]
        return len(np.unique(slices.reshape(self.rows, -1), axis=0)) < self.rows

    def _chooses(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        """Whether an operation places rows by numbers of the input."""
        name = func.overloadpacket.__name__
        if name in _SIZED_BY_DATA:
            return True
        if name in _INDEXES:
            return self._indexes(args)
        if name in _PICKS:
            into, along, index, *source = args[:4]
            moved = max(map(self.level, (into, *source)))
            return bool(moved and self.level(index)) and self._of_rows(into, along)
        if name in _SORTS:
            return bool(self.level(args[0])) and self._of_rows(args[0], _argument(func, args, kwargs, "dim", -1))
        return False

    def _pools(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        """Whether an operation reduces over all rows."""
        tensor = args[0]
        shape: Sequence[int] = tensor.shape
        if not shape or storage_of(tensor) in self._rare:
            return False
        along = _argument(func, args, kwargs, "dim", None)
        axes = {axis % len(shape) for axis in ([along] if isinstance(along, int) else along or range(len(shape)))}
        here = [axis for axis in range(min(2, len(shape))) if shape[axis] == self.rows]
        if len(shape) == 1:
            return shape[0] % self.rows == 0 and shape[0] > 0
        if storage_of(tensor) in self._paired and not axes.isdisjoint(here):
            return True
        return bool(here) and axes.issuperset(here)

    def _multiplies(self, name: str, args: tuple[Any, ...]) -> bool:
        """Whether an operation sums rows times numbers of the input (attention between rows), which may be 0 here."""
        places = (0, 2) if name.startswith("_scaled_dot_product") else _PRODUCTS.get(name)
        if places is None:
            return False
        one, other = (args[place] for place in places)
        if one.is_nested or other.is_nested:
            return False
        if not (self.level(one) and self.level(other)) or (other.dim() > 2 and other.shape[0] % self.rows == 0):
            return False
        added: int = other.shape[-2]
        return added == self.rows or (added % self.rows == 0 and one.shape[-2] == added)

    def _pairs(self, inputs: Sequence[Tensor], output: object) -> bool:
        """Whether a tensor has an entry for each pair of rows: made by broadcasting two tensors, or from such a one."""
        size = (self.rows, self.rows)
        if (
            not isinstance(output, Tensor)
            or any(one.is_nested for one in (output, *inputs))
            or tuple(output.shape[:2]) != size
        ):
            return False
        held = [tensor for tensor in inputs if self.level(tensor)]
        if any(storage_of(tensor) in self._paired for tensor in held):
            return True
        if output.dim() == 2 and len(held) == 2 and all(one.dim() == 2 and self.rows in one.shape for one in held):
            return tuple(held[0].shape) != size and tuple(held[1].shape) != size  # x @ x.T
        shapes = [(1,) * (output.dim() - one.dim()) + tuple(one.shape) for one in held]
        return any(one[0] == 1 and one[1] == self.rows for one in shapes) and any(one[0] == self.rows for one in shapes)

    def _indexes(self, args: tuple[Any, ...]) -> bool:
        into, indices, *values = args[:3]
        if not max(map(self.level, (into, *values))):
            return False
        axis = 0
        for index in indices:
            if index is None:
                axis += 1
                continue
            mask = index.dtype in (torch.bool, torch.uint8)
            one_value = bool(values) and values[0].numel() == 1
            if self.level(index) and not (mask and one_value) and (mask or self._of_rows(into, axis)):
                return True
            axis += index.dim() if mask else 1
        return False

    def _of_rows(self, tensor: Tensor, axis: int) -> bool:
        """Whether rows may lie along an axis."""
        sizes: Sequence[int] = tensor.shape
        if not sizes:
            return False
        axis %= len(sizes)
        return axis == 0 or (sizes[axis] == self.rows and sizes[0] != self.rows)


def _argument(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], name: str, default: Any) -> Any:
    if name in kwargs:
        return kwargs[name]
    names = [argument.name for argument in func._schema.arguments]
    return args[names.index(name)] if name in names[: len(args)] else default


def _asks_for_none(args: tuple[Any, ...]) -> bool:
    """Whether a comparison looks for infinite numbers or NaN."""
    return args[0] is args[1] or (isinstance(args[1], float) and math.isinf(args[1]))


def written(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Iterator[Tensor]:
    """The tensors that an operation writes."""
    for n, name in _written(func):
        yield from tensors_in((args[n] if n < len(args) else kwargs.get(name),))


@lru_cache(maxsize=4096)
def _written(func: Any) -> tuple[tuple[int, str], ...]:
    """Positions and names of the arguments that an operation writes."""
    arguments = enumerate(func._schema.arguments)
    return tuple((n, one.name) for n, one in arguments if one.alias_info is not None and one.alias_info.is_write)


def tensors_in(values: Iterable[object]) -> Iterator[Tensor]:
    """The tensors among an operation's arguments or outputs, nested in lists at most."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from tensors_in(value)


def storage_of(tensor: Tensor) -> int | None:
    """The id of a tensor's storage; None: the tensor has none (packed or sparse)."""
    try:
        return tensor.untyped_storage()._cdata
    except (RuntimeError, NotImplementedError):
        return None
