"""Assigns the rows of a batch to entries, each with its own tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten


@dataclass(frozen=True)
class Groups:
    """The rows of a batch, sorted by entry.

    Attributes:
        entries: the entries that occur, in order.
        sizes: number of rows of each.
        order: `[B]`, indices of the rows sorted by entry; None: the batch is sorted.
        back: `[B]`, the inverse of `order`.
    """

    entries: tuple[int, ...]
    sizes: tuple[int, ...]
    order: Tensor | None = None
    back: Tensor | None = None

    @property
    def pays(self) -> bool:
        """Whether sorting pays: entries have two or more rows on average."""
        return sum(self.sizes) >= 2 * len(self.sizes)

    @property
    def alike(self) -> bool:
        return len(set(self.sizes)) == 1

    @classmethod
    def of(cls, places: Sequence[int], device: torch.device) -> Groups:
        order = sorted(range(len(places)), key=places.__getitem__)
        counts: dict[int, int] = {}
        for row in order:
            counts[places[row]] = counts.get(places[row], 0) + 1
        entries, sizes = tuple(counts), tuple(counts.values())
        if order == list(range(len(places))):
            return cls(entries, sizes)
        back = [0] * len(order)
        for place, row in enumerate(order):
            back[row] = place
        return cls(entries, sizes, torch.tensor(order, device=device), torch.tensor(back, device=device))

    def scaled(self, factor: int) -> Groups:
        """The groups at a layer that sees each row as `factor` consecutive ones (windows, beams)."""
        if factor == 1:
            return self
        sizes = tuple(size * factor for size in self.sizes)
        if self.order is None or self.back is None:
            return Groups(self.entries, sizes)
        step = torch.arange(factor, device=self.order.device)
        order, back = ((rows[:, None] * factor + step).flatten() for rows in (self.order, self.back))
        return Groups(self.entries, sizes, order, back)

    def sorted(self, tensor: Tensor) -> Tensor:
        """The rows of a tensor, sorted by entry."""
        return tensor if self.order is None else tensor.index_select(0, self.order)

    def unsorted(self, tensor: Tensor) -> Tensor:
        """The rows in their first order."""
        return tensor if self.back is None else tensor.index_select(0, self.back)

    def split(self, tensor: Tensor) -> Sequence[Tensor]:
        """The rows of each entry."""
        return self.sorted(tensor).split(self.sizes)


@dataclass(frozen=True)
class Rows:
    """The entry of each row of a batch; tensors are `[T, …]`, one slice for each entry.

    Attributes:
        size: number of rows.
        index: `[size / each]`, the entry of each block of rows; None: block n has entry n.
        each: consecutive rows of a block.
        places: `index` as Python numbers; None: only the device knows them.
        gathers: always gather tensors by row, and never sort rows, so that other rows do not change a row's operations.
    """

    size: int
    index: Tensor | None
    each: int = 1
    places: tuple[int, ...] | None = None
    gathers: bool = False
    _scaled: dict[int, Rows] = field(default_factory=dict, repr=False, compare=False)
    _groups: list[Groups] = field(default_factory=list, repr=False, compare=False)

    @classmethod
    def side_by_side(cls, entries: int, each: int) -> Rows:
        """`each` rows of every entry, one entry after another."""
        return cls(entries * each, None, each, tuple(range(entries)))

    def at(self, size: int) -> Rows:
        """The rows at a layer that sees `size` rows, equally many consecutive ones of each."""
        if size == self.size:
            return self
        traced = torch.compiler.is_compiling()  # traced sizes may be symbols, which can't be keys
        found = None if traced else self._scaled.get(size)
        if found is None:
            found = replace(self, size=size, each=self.each * size // self.size, _scaled={}, _groups=[])
            if not traced:
                self._scaled[size] = found
        return found

    def copied(self, times: int, device: torch.device) -> Rows:
        """The rows at a layer that sees several copies of the whole batch, one after another."""
        index = self.entry_of_each(device)
        places = None
        if self.places is not None:
            places = tuple(place for place in self.places for _ in range(self.each)) * times
        return Rows(self.size * times, index.repeat(times), 1, places, self.gathers)

    def gather(self, tensor: Tensor) -> Tensor:
        """`[T, …]` → `[size / each, …]`, the slice of each block."""
        return tensor if self.index is None else tensor.index_select(0, self.index)

    def of_each(self, tensor: Tensor) -> Tensor:
        """`[T, …]` → `[size, …]`, the slice of each row."""
        return self.all_of_each({"": tensor})[""]

    def all_of_each(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """`of_each` for several tensors, by name."""
        if self.index is None and self.each == 1:
            return dict(tensors)
        found: dict[str, Tensor] = {}
        for name, tensor in tensors.items():
            made = tensor if self.index is None else tensor.index_select(0, self.index)
            found[name] = made if self.each == 1 else made.repeat_interleave(self.each, 0)
        return found

    def entry_of_each(self, device: torch.device) -> Tensor:
        """The entry of each row, `[size]`."""
        index = torch.arange(self.size // self.each, device=device) if self.index is None else self.index
        return index if self.each == 1 else index.repeat_interleave(self.each)

    @property
    def known(self) -> Groups | None:
        """The groups, without a device sync; None: only the device knows them."""
        found = self._groups[0] if self._groups else None
        if found is None and self.places is not None:
            found = self._grouped(self.places)
        return found

    @property
    def paying(self) -> Groups | None:
        """The groups, if sorting rows is faster than gathering tensors for each row."""
        if self.gathers:
            return None
        groups = self._groups[0] if self._groups else self.known
        return groups if groups is not None and sum(groups.sizes) >= 2 * len(groups.sizes) else None

    def groups(self, layer: str) -> Groups:
        """The groups, with one device sync per pass if Python does not know them.

        Raises:
            ValueError: a compiler traces the pass, so that they are unknown.
        """
        if (found := self.known) is not None:
            return found
        if torch.compiler.is_compiling() or self.index is None:
            raise ValueError(
                f"layer {layer!r} runs the rows of each task by themselves, and a traced graph does not know which "
                "they are; leave such layers out with targets, or do not trace the mixed batch"
            )
        return self._grouped(tuple(self.index.tolist()))

    def _grouped(self, places: tuple[int, ...]) -> Groups:
        device = torch.device("cpu") if self.index is None else self.index.device
        found = Groups.of(places, device).scaled(self.each)
        if not torch.compiler.is_compiling():
            self._groups.append(found)
        return found


def taker(rows: Tensor | slice, size: int) -> Callable[[object], object]:
    """A function that takes these rows of tensors with `size` rows, and passes on other values."""

    def take(value: object) -> object:
        return value[rows] if isinstance(value, Tensor) and value.dim() and len(value) == size else value

    return take


def by_entry(
    groups: Groups,
    size: int,
    inputs: tuple[tuple, dict],
    run: Callable[[int, tuple, dict], object],
    axes: tuple[int, ...] = (0,),
) -> object:
    """Calls a function once for the rows of each entry, and joins the outputs.

    Args:
        groups: the rows.
        size: of the batch; tensors with another first axis serve all rows.
        inputs: positional and named arguments.
        run: (entry, its positional, its named arguments) → nested tensors with as many rows.
        axes: the axis of rows in each of these tensors; the last one holds for all that follow.
    """
    made = [tree_flatten(run(entry, *mine)) for entry, mine in _parts(groups, size, inputs)]
    leaves: list[object] = []
    for n, parts in enumerate(zip(*(found for found, _ in made), strict=True)):
        if not isinstance(parts[0], Tensor):
            leaves.append(parts[0])
            continue
        axis = axes[min(n, len(axes) - 1)]
        whole = torch.cat(parts, axis)
        leaves.append(whole if groups.back is None else whole.index_select(axis, groups.back))
    return tree_unflatten(leaves, made[0][1])


def _parts(groups: Groups, size: int, inputs: tuple[tuple, dict]) -> Iterator[tuple[int, tuple[tuple, dict]]]:
    if groups.order is not None:
        inputs = tree_map(taker(groups.order, size), inputs)
    begin = 0
    for entry, count in zip(groups.entries, groups.sizes, strict=True):
        yield entry, tree_map(taker(slice(begin, begin + count), size), inputs)
        begin += count
