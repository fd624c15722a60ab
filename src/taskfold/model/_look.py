"""The passes of the plain network that locate the rows of a batch."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.utils._pytree import tree_leaves

from ..layers import (
    ENTRIES,
    Layout,
    Marked,
    Moves,
    Notes,
    Origins,
    Passes,
    Seen,
    Told,
    Tracers,
    Unmoved,
    is_blind,
    is_same,
)
from ._entries import Path, entries_equal, entries_follow, flat, lists_of, without
from ._known import UNKNOWN, Known
from ._nested import seen_in
from ._noted import Passed, noted, passed_by
from ._rows import Batch
from ._separate import is_alike

CHOSEN = "numbers of the input say which of its rows stands where (experts, regions, pictures in a text)"
POOLED = "its rows depend on a number that they have in common (a maximum, a mean)"
DECIDES = "it decides by the numbers of several rows ({!r}), and may decide otherwise for some of them"
BLIND = "layers or outputs see equal rows in this batch, and what other numbers do there says nothing of their places"

SLICES = (
    "its tensors may hold the slices of a row side by side, or one in each of several copies of the batch, and the "
    "network runs both ways; give such a tensor with the slices of a row on an axis of their own"
)
DOUBT = (
    "each list of {0} may have an entry for each row, or each of its tensors a slice for each, and the network runs "
    "both ways; stack entries that are rows to one tensor, or give those that are none in a dict"
)


def looked_for(network: nn.Module, batch: Batch, training: bool = False) -> Known:
    """Locates the rows of a batch in the tensors of a network's layers, in the layers' precision.

    Autocast, under which a row's numbers depend slightly on other rows, is off if the network runs without it.

    Args:
        network: a quiet skeleton for these passes alone.
        batch: at least one row.
        training: the skeleton is in training mode; these passes run without randomness.

    Raises:
        Exception: the network fails on the unchanged batch.
    """
    if trouble := _uncut(batch):
        return Known(trouble=trouble)
    if devices := [one for one in {leaf.device.type for leaf in batch.tensors} if torch.is_autocast_enabled(one)]:
        with suppress(Exception), ExitStack() as off:
            for device in devices:
                off.enter_context(torch.autocast(device, enabled=False))
            return _looked_for(network, batch, training)
    return _looked_for(network, batch, training)


def _looked_for(network: nn.Module, batch: Batch, training: bool) -> Known:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the user's pass repeats them
        ways = batch.readings()
        tried: list[Known] = []
        for n, way in enumerate(ways):
            tried.append(found := _read(network, way, training))
            if found.trouble:
                continue
            several = way.copies is not None
            doubt = batch.rows > 1 and (several or (not way.reading and way.cuts_inside() == "all"))
            others = [one for one in ways[n + 1 :] if (one.copies is not None) == several]
            if doubt and not all(_read(network, other, training).trouble for other in others):
                return replace(found, trouble=SLICES if several else DOUBT.format(batch.rows))
            return found
        return next((one for one in tried if one.reading), tried[0])


def _read(network: nn.Module, given: Batch, still: bool) -> Known:
    """The findings for one reading of the inputs; `still`: without randomness, which hides the rows elsewhere too."""
    batch, distinct = (given if given.rows > 1 else given.twice()).with_own_entries().distinct()
    with Unmoved() if still else Unmoved(None) as chance:
        known = _found(network, batch, distinct)
    if known.trouble and chance.drew and not still:
        return _read(network, given, True)
    if still and chance.drew and not (known.trouble or known.chosen) and _met(network, batch, known):
        return replace(known, trouble="random numbers bring its rows together: each depends on several")
    return known


def _met(network: nn.Module, batch: Batch, known: Known) -> bool:
    """Whether a row's output depends on other rows under random numbers: drawn ones, small ones, large ones."""
    rows = torch.arange(batch.rows, device="cpu")
    for numbers in (None, (0.0, 0.02, -1.0), (1.0, 0.98, 1.0)):
        said: list[Any] = []
        for mine in (rows, *Moves.of(batch.rows).kept):  # other rows have the inputs of these
            with Unmoved(numbers), Told() as told:
                places = torch.where(torch.isin(rows, mine), rows, mine[rows % len(mine)])
                notes, output = noted(network, batch.take(places))
            if (*told.decisions,) != known.decisions:
                break  # another path
            said.append(flat(output, known.lists)[0])
            if not is_alike(said[0], said[-1], mine, batch.rows, known.outputs, notes.coarse, whole=True):
                return True
    return False


def _found(network: nn.Module, batch: Batch, distinct: bool) -> Known:
    look = Look.of(network, batch)
    kept = not look.known.chosen and not (look.known.trouble and look.known.decisions)  # which another batch makes not
    equal = kept and not distinct and batch.copies is None
    known = replace(look.known, lasting=distinct and kept, equal=equal, reading=batch.reading, copies=batch.copies)
    if known.trouble or known.chosen or not (look.blind or look.nothing or look.dead):
        return known
    return _told(network, batch, look, known)


def _uncut(batch: Batch) -> str:
    """Why inputs can't be cut into rows, whatever the network; empty: they can."""
    for leaf in batch.leaves:
        if isinstance(leaf, Tensor) and (leaf.is_nested or leaf.layout != torch.strided):
            return "rows can't be taken out of nested and sparse tensors"
        if isinstance(leaf, Tensor) and leaf.is_meta:
            return "tensors on 'meta' hold no numbers by which rows are known"
    held = tree_leaves(batch.arguments(), is_leaf=lambda value: isinstance(value, PackedSequence))
    if any(isinstance(value, PackedSequence) for value in held):
        return "rows can't be taken out of a packed sequence; pack inside the network"
    return ""


@dataclass(frozen=True)
class Look:
    """The findings of the passes of one batch.

    Attributes:
        known: of layers and outputs.
        marks: of the network's outputs for the unchanged batch.
        blind: paths of layers that see equal rows.
        nothing: an output has equal rows.
        dead: rows are equal behind a function (zeros behind a ReLU).
    """

    known: Known
    marks: Sequence[Marked] = ()
    blind: Collection[str] = ()
    nothing: bool = False
    dead: bool = False

    @classmethod
    def of(cls, network: nn.Module, batch: Batch, tracers: Tracers | None = None) -> Look:
        """Runs the network on the unchanged batch, in another order, and in parts that separate any two rows.

        Raises:
            Exception: the network fails on the unchanged batch.
        """
        origins = Origins(batch.rows)
        notes, output = noted(network, batch, origins, tracers, torch.arange(batch.rows, device="cpu"))
        given = notes, notes.marked(leaves := seen_in(output)), output
        pooled = any(map(origins.pooled, leaves))
        why = ""
        passed: dict[tuple[int, ...], Passed] = {}
        for few in (True, False) if batch.rows > 3 else (True,):
            try:
                moves = Moves.of(batch.rows, few=few)
                if origins.otherwise and not origins.steps:
                    # Such rows as a part may show that the decision changes nothing for them.
                    with suppress(Exception):
                        more = moves.with_parts(origins.otherwise.values())
                        look = cls._of(network, batch, origins, given, pooled, tracers, more, passed, origins.otherwise)
                        if not (look.known.trouble or look.known.chosen or look.known.apart):
                            return look
                return cls._of(network, batch, origins, given, pooled, tracers, moves, passed)
            except Exception as error:
                why = f"it does not run with its rows in another order or without some ({error})"
        return cls(Known(trouble=why))

    @classmethod
    def _of(
        cls,
        network: nn.Module,
        batch: Batch,
        origins: Origins,
        given: tuple[Notes, list[Marked], Any],
        pooled: bool,
        tracers: Tracers | None,
        moves: Moves,
        passed: dict[tuple[int, ...], Passed],
        shown: Collection[int] = (),
    ) -> Look:
        followed, others, outputs, said = [], [], [given[1]], [given[2]]
        for rows in (moves.order, *moves.kept):
            if (key := (*rows.tolist(),)) not in passed:
                passed[key] = passed_by(network, batch, origins, tracers, rows)
            told, notes, output = passed[key]
            followed.append(told)
            others.append(notes)
            outputs.append(notes.marked(seen_in(output)))
            said.append(output)
        turned, *less = followed
        chosen = any(mark[1] for mark in given[1]) or turned.read != origins.read
        chosen = chosen or not _extremes(origins.read, [one.read for one in less], moves)
        astray = [(one.read, one.decisions) != (origins.read, origins.decisions) for one in less]
        passes = Passes(moves, given[0], others[0], others[1:], astray)
        lists = (*lists_of(said, [batch.rows, *map(len, (moves.order, *moves.kept))]),)
        if lists:
            outputs = [notes.marked(without(one, lists)) for notes, one in zip((given[0], *others), said, strict=True)]
        found, seen = passes.outputs(outputs), passes.seen()
        trouble = next(
            (_mixing(mark) for (mark, _), one in zip(outputs[0], found, strict=True) if one is None and mark.shape), ""
        )
        held = [[leaf for leaf in flat(one, lists)[0] if isinstance(leaf, (list, tuple))] for one in said]
        if not all(entries_follow(one, moves) for one in zip(*held, strict=True)):
            what = f"entries of a list of {batch.rows} that it puts out"
            trouble = f"{what} don't follow the rows of its inputs: each depends on several"
        decisions = tuple(origins.decisions)
        harmless = {n for n in origins.unsure if n in shown or (n >= 0 and _both_ways(n, decisions, less))}
        open_ = [n for n in origins.unsure if n not in harmless or origins.steps]
        apart = [value for n in open_ for value, agreed in (origins.unsure[n],) if not agreed]
        known = Known(
            seen,
            found,
            trouble,
            CHOSEN if chosen else POOLED if pooled else "",
            DECIDES.format(apart[0]) if apart else "",
            decisions=decisions,
            each=tuple(open_),
            once=passes.once(),
        )
        if lists:
            known = replace(known, lists=lists, outputs=_with_lists(given[2], lists, found))
        nothing = any(
            is_blind(mark, one, batch.rows) for (mark, _), one in zip(outputs[0], found, strict=True) if one is not None
        )
        nothing = nothing or any(map(entries_equal, held[0]))
        return cls(known, given[1], passes.blind(seen), nothing, origins.dead)


def _with_lists(output: Any, lists: Sequence[Path], found: Sequence[Layout | None]) -> tuple[Layout | None, ...]:
    """The layouts of tensors and lists, in the order of the output."""
    following = iter(found)
    leaves = flat(output, lists)[0]
    return tuple(
        ENTRIES if isinstance(leaf, (list, tuple)) else next(following)
        for leaf in leaves
        if isinstance(leaf, (Tensor, list, tuple))
    )


def _both_ways(n: int, decisions: Sequence[Any], parts: Sequence[Told]) -> bool:
    """Whether a part has made a decision otherwise, on the same path, so that its answers show what that does."""
    others = [part.decisions[n] for part in parts if len(part.decisions) == len(decisions)]
    return not isinstance(decisions[n], (float, tuple)) and any(one != decisions[n] for one in others)


def _extremes(whole: Sequence[Any], parts: Sequence[Sequence[Any]], moves: Moves) -> bool:
    """Whether the numbers that a pass read are the extremes of its parts' (the length of the longest row, say).

    Counts of rows, or sizes of tensors made of them, are the sums of the parts' instead.
    """
    if all(part == whole for part in parts):
        return True
    if any(len(part) != len(whole) for part in parts):
        return False
    for number, *mine in zip(whole, *parts, strict=True):
        if all(one == number for one in mine):
            continue
        if not isinstance(number, int) or number not in (max(mine), min(mine)):
            return False
        if sum(mine[: moves.first]) == moves.parts * number:
            return False
    return True


def _mixing(mark: Any) -> str:
    return f"rows of its output {list(mark.shape)} don't follow those of its inputs: each depends on several"


def _told(network: nn.Module, batch: Batch, look: Look, known: Known) -> Known:
    """The findings where layers see equal rows: runs again with tracers, different numbers for each row behind layers.

    A layer that still sees equal rows keeps the layout of its shape if the outputs follow the numbers that it adds.
    """
    partly: dict[str, Seen] | None = None
    dead: Known | None = None
    troubles: list[str] = []
    for inputs, places, scale in _tries(batch, look):
        tracers = Tracers(batch.rows, places, scale=scale)
        try:
            again = Look.of(network, inputs, tracers)
        except Exception:  # the network does not accept these numbers
            continue
        troubles.append("" if again.known.chosen else again.known.trouble)
        if again.known.trouble or again.known.chosen or again.nothing or again.known.outputs != known.outputs:
            continue
        told = {layer: again.known.layers.get(layer, UNKNOWN) for layer in look.blind}
        still = [layer for layer in look.blind if layer in again.blind]
        lost = [layer for layer in still if not _reaches(network, inputs, tracers, layer, again)]
        if not lost:
            found = replace(known, layers={**known.layers, **told})
            if not (look.dead and again.dead):
                return found
            dead = dead or replace(found, lasting=False)
        elif partly is None:
            partly = {**told, **dict.fromkeys(lost, UNKNOWN)}
    if any(troubles) and (all(troubles) or not look.blind):
        return replace(known, trouble=max(troubles))  # rows that differ are mixed
    if dead is not None:
        return dead
    if partly is None:
        return replace(known, chosen=BLIND, lasting=False)
    return replace(known, layers={**known.layers, **partly})


def _tries(batch: Batch, look: Look) -> Iterator[tuple[Batch, dict[str, tuple[Layout | None, ...]], float]]:
    """Inputs, the layouts of the layers that add numbers (all, or those that are no guess), and the numbers' scale."""
    every = {layer: seen.outputs for layer, seen in look.known.layers.items()}
    yield batch, every, 1.0
    if not (look.blind or look.nothing):  # dead units alone
        yield batch, every, 10.0
        yield batch, every, 100.0
    yield batch.shaken(), every, 1.0
    if look.blind or look.nothing:
        yield batch, {layer: outputs for layer, outputs in every.items() if layer not in look.blind}, 1.0


def _reaches(network: nn.Module, batch: Batch, tracers: Tracers, layer: str, look: Look) -> bool:
    """Whether the numbers that a layer adds change the network's output."""
    if layer not in tracers.places:
        return False
    notes, output = noted(
        network, batch, None, replace(tracers, others=(layer,)), torch.arange(batch.rows, device="cpu")
    )
    pairs = zip(notes.marked(seen_in(output)), look.marks, strict=True)
    return not all(is_same(one, other) for (one, _), (other, _) in pairs)
