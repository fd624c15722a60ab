"""Cuts a network behind its frozen part, and checks that a pass with kept rows equals one without."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from ..layers import Made, Prefix, PrefixError, Recorded, Selection, absent_in, drawn, selecting
from ._again import Undo
from ._inputs import Inputs
from ._store import Store, Table

SINGLE, HALF = 1e-4, 3e-2
"""Relative tolerances for the dependence of a row on the other rows of its batch."""

TRIED = 4
"""Most rows of the first batch that the trial uses."""


@dataclass
class Cut:
    """The frozen part of a backbone, for inputs of one form.

    Attributes:
        prefix: records and skips the part.
        standing: the skeleton that the prefix's is a twin of.
        calls: the forms of its modules' outputs.
        needed: numbers of the calls whose output the rest of the network uses.
        exact: rows do not depend on the other rows, bit for bit.
        table: stores the rows.
    """

    prefix: Prefix
    standing: object
    calls: Sequence[Made]
    needed: Sequence[int]
    exact: bool
    table: Table

    def packed(self, recorded: Recorded) -> Tensor:
        """The recorded rows, `[B, width]` bytes, on the CPU."""
        tensors = [tensor for n in self.needed for tensor in recorded.tensors[n]]
        return torch.cat([t.reshape(len(t), -1).contiguous().view(torch.uint8).cpu() for t in tensors], 1)

    def unpacked(self, rows: Tensor, device: torch.device) -> list[tuple[str, Any]]:
        """The path and output of each call, made from rows `[B, width]`; absent if it is not needed."""
        kept = [rows_of for n in self.needed for rows_of in self.calls[n].rows]
        parts = rows.split([one.nbytes for one in kept], 1)
        typed = [p.contiguous().view(how.dtype).reshape(-1, *how.shape) for how, p in zip(kept, parts, strict=True)]
        laid = (how.laid(one.to(device, non_blocking=True)) for how, one in zip(kept, typed, strict=True))
        return outputs(self.calls, self.needed, laid, len(rows), device)


def outputs(
    calls: Sequence[Made], needed: Collection[int], tensors: Iterator[Tensor], batch: int, device: torch.device
) -> list[tuple[str, Any]]:
    """The path and output of each call; absent if it is not needed."""
    return [
        (made.path, made.filled(tensors) if n in needed else made.absent(batch, device)) for n, made in enumerate(calls)
    ]


@torch.no_grad()
def part_of(
    prefix: Prefix, inputs: Inputs, index: Tensor, selection: Selection, calls: int, needed: Sequence[int] | None = None
) -> Recorded:
    """Runs the frozen part alone on some rows, up to the given number of calls."""
    args, kwargs = inputs.some(index)
    with prefix.recording(len(index), calls, needed) as recorded, selecting(selection):
        prefix.network(*args, **kwargs)
    return recorded


class Trial:
    """The trial of a cut on a first batch.

    Args:
        network: a skeleton, used here alone.
        changed: paths of the adapted layers.
        inputs: the batch, of at least two rows; the trial uses `TRIED` of them, for one task.
        selection: of the pass.
    """

    def __init__(self, network: nn.Module, changed: Collection[str], inputs: Inputs, selection: Selection) -> None:
        self.prefix, self.inputs = Prefix(network, changed), inputs.first(TRIED)
        self.selection = selection if selection.rows is None else selection.of_one(0)
        self.undo = Undo(selection)
        self.whole, self.output = Recorded(), None

    def cut(self, standing: object, store: Store, name: str) -> Cut:
        """Finds the cut and checks it.

        Args:
            standing: see `Cut`.
            store: of the rows, perhaps with those of an earlier process.
            name: of the network.

        Raises:
            PrefixError: a pass with kept rows differs from one without, or there is no frozen part.
        """
        try:
            self.prefix.find(self._run)
            with self.prefix.recording(self.inputs.batch) as self.whole:
                self.output = self._run()
            # Other rows in another order: state left over from them would show in the passes with kept rows.
            index = torch.arange(self.inputs.batch).flip(0)[: self.inputs.batch // 2]
            start = drawn()
            part = part_of(self.prefix, self.inputs, index, self.selection, len(self.whole.calls))
            if drawn() != start:
                raise PrefixError("the frozen part draws random numbers in training, and not in a module of its own")
            exact = _alike(self.whole, part, index)
            needed = self._needed()
        finally:
            self.undo()
        calls = self.whole.calls
        width = sum(rows.nbytes for n in needed for rows in calls[n].rows)
        if not width:
            raise PrefixError("the rest of the network computes with nothing that the frozen part puts out")
        said = (name, self.inputs.form, torch.__version__, [(made.path, made.leaves) for made in calls], needed)
        name = sha256(repr(said).encode()).hexdigest()[:24]
        cut = Cut(self.prefix, standing, calls, needed, exact, store.table(name, width))
        if not self._agrees(cut):
            store.drop(name)  # its rows come from another network
            cut.table = store.table(name, width)
        return cut

    def _run(self) -> Any:
        self.undo()
        args, kwargs = self.inputs.some(torch.arange(self.inputs.batch))
        with selecting(self.selection):
            return self.prefix.network(*args, **kwargs)

    def _needed(self) -> list[int]:
        """The calls whose output the rest of the network needs: the last one, or a minimal set."""
        every = list(range(len(self.whole.calls)))
        if not self._trouble(every[-1:]):
            return every[-1:]
        if why := self._trouble(every):
            raise PrefixError(f"the rest of the network has more from the frozen part than outputs of modules ({why})")
        needed = every
        for n in every[:-1]:
            fewer = [one for one in needed if one != n]
            needed = needed if self._trouble(fewer) else fewer
        return needed

    def _trouble(self, needed: Sequence[int]) -> str:
        """Why a pass with these calls' outputs alone differs from the plain one; empty: it does not."""
        kept = iter([tensor for n in needed for tensor in self.whole.tensors[n]])
        made = outputs(self.whole.calls, needed, kept, self.inputs.batch, self.inputs.device)
        try:
            with self.prefix.replaying(made):
                found = self._run()
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return "" if not absent_in(found) and _equal(found, self.output) else "its output is another"

    def _agrees(self, cut: Cut) -> bool:
        """Whether stored rows equal the network's present outputs."""
        keys = self.inputs.keys()
        known = [n for n, key in enumerate(keys) if key in cut.table]
        if not known:
            return True
        sides = [cut.packed(self.whole)[known], cut.table.get([keys[n] for n in known])]
        fresh, kept = (
            tree_flatten([cut.unpacked(one, torch.device("cpu"))[n] for n in cut.needed])[0] for one in sides
        )
        return all(_close(a, b) for a, b in zip(fresh, kept, strict=True) if isinstance(a, Tensor))


def _alike(whole: Recorded, part: Recorded, index: Tensor) -> bool:
    """Whether rows are bit for bit the same in another batch.

    Raises:
        PrefixError: they differ by more than the tolerance.
    """
    if len(whole.calls) != len(part.calls):
        raise PrefixError("which modules of the frozen part run depends on the rows")
    exact = True
    for one, other, big, small in zip(whole.calls, part.calls, whole.tensors, part.tensors, strict=True):
        pairs = [(left[index.to(left.device)], right) for left, right in zip(big, small, strict=False)]
        if not (one.same(other) and all(_close(*pair) for pair in pairs)):
            raise PrefixError(f"what module {one.path!r} of the frozen part puts out depends on the other rows")
        exact &= all(torch.equal(*pair) for pair in pairs)
    return exact


def _close(one: Tensor, other: Tensor) -> bool:
    if not one.is_floating_point() or not one.numel():
        return torch.equal(one, other)
    far = SINGLE if one.dtype.itemsize > 2 else HALF
    scale = one.abs().nan_to_num(0).max().clamp(min=torch.finfo(one.dtype).tiny)
    return torch.allclose(one / scale, other / scale, rtol=0, atol=far, equal_nan=True)


def _equal(one: Any, other: Any) -> bool:
    """Bit for bit on CPUs, within the tolerance on GPUs, whose sums may vary in order."""
    (left, form), (right, other_form) = tree_flatten(one), tree_flatten(other)
    return form == other_form and all(map(_same, left, right))


def _same(one: Any, other: Any) -> bool:
    if not isinstance(one, Tensor) or not isinstance(other, Tensor):
        return one is other or one == other
    if one.shape != other.shape or one.device.type != "cpu":
        return one.shape == other.shape and _close(one, other)
    return torch.allclose(one, other, rtol=0, atol=0, equal_nan=True)
