"""Answers a mixed batch task by task: the rows of each task are a batch of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..kinds import Rows
from ..layers import ENTRIES, FIRST, TOLERANCE, TOLERANCES, Cut, Layout, NotCutError
from ._entries import entries_same, flat
from ._known import Known
from ._noted import noted
from ._prompts import asked_of, padding_of
from ._rows import Batch

Run = Callable[[int, tuple[Any, ...], dict[str, Any]], Any]


def separately(run: Run, batch: Batch, rows: Rows, known: Known, name: str) -> Any:
    """The output of a batch whose tasks run one after another.

    Args:
        run: (entry, its positional, its named arguments) → the network's output.
        batch: the inputs.
        rows: the entry of each row.
        known: the findings about the batch, with the layouts of the outputs.
        name: of the network.

    Raises:
        ValueError: the tasks' outputs can't be joined.
    """
    cut, made = _each(run, batch, rows)
    try:
        parts = [flat(one, known.lists) for one in made]
        form = parts[0][1]
        if any(str(other) != str(form) for _, other in parts):
            raise NotCutError("puts out something else for each task")
        return form.filled(cut.joined([leaves for leaves, _ in parts], known.outputs))
    except (NotCutError, IndexError) as error:
        raise ValueError(
            f"{name} answers this mixed batch task by task, and its output can't be put together: it {error}; ask for "
            "tensors of rows alone (of language models: use_cache=False, no labels; of detectors: no targets), or run "
            "one task at a time"
        ) from None


def texts(run: Run, batch: Batch, rows: Rows, network: nn.Module, name: str) -> Any:
    """The texts `[B, length]` that a network generates task by task; shorter ones are padded.

    Raises:
        ValueError: the network returns something else than one tensor, or an argument depends on the index of a row.
    """
    batch, settings = asked_of(network, batch, name)
    cut, made = _each(lambda entry, args, mine: run(entry, args, {**mine, **settings}), batch, rows)
    if not all(isinstance(text, Tensor) for text in made):
        raise ValueError(
            f"{name} writes the texts of this mixed batch task by task, and they can't be put together but as one "
            "tensor; ask without return_dict_in_generate, or run one task at a time"
        )
    longest, padding = max(text.shape[1] for text in made), padding_of(network, settings)
    padded = [nn.functional.pad(text, (0, longest - text.shape[1]), value=padding) for text in made]
    return FIRST.join(padded, cut.rows, batch.rows)


def _each(run: Run, batch: Batch, rows: Rows) -> tuple[Cut, list[Any]]:
    """The cut, and the output of each task for its own rows."""
    cut = Cut.of(rows.groups("the input"))
    return cut, [run(entry, *batch.take(mine).arguments()) for entry, mine in zip(cut.entries, cut.rows, strict=True)]


def check_cut(network: nn.Module, batch: Batch, rows: Rows, known: Known, name: str) -> None:
    """Checks that the plain network's output for each task's rows does not depend on the other rows.

    Raises:
        ValueError: it does.
    """
    cut = Cut.of(rows.groups("the input"))
    notes, output = noted(network, batch)
    wanted = flat(output, known.lists)[0]
    for mine in cut.rows:
        why = ""
        try:
            found = flat(noted(network, batch.take(mine))[1], known.lists)[0]
        except Exception as error:
            found, why = [], f" ({error})"
        if why or not is_alike(wanted, found, mine, batch.rows, known.outputs, notes.coarse):
            raise ValueError(
                f"{name} can't answer this mixed batch: without the other rows of the batch it says something else of "
                f"a task's rows{why}, so that it is not known which inputs belong to which row; run one task at a time"
            )


def is_alike(
    wanted: Sequence[Any],
    found: Sequence[Any],
    rows: Tensor,
    batch: int,
    places: Sequence[Layout | None],
    coarse: float,
    whole: bool = False,
) -> bool:
    """Whether an output is another's for these rows; `whole`: it has all rows too."""
    every: list[Any]
    parts: list[Any]
    every, parts = ([leaf for leaf in leaves if isinstance(leaf, (Tensor, list, tuple))] for leaves in (wanted, found))
    if len(every) != len(parts) or len(every) != len(places):
        return False
    for one, part, place in zip(every, parts, places, strict=True):
        if place is None:
            continue  # a number for the whole batch
        mine: Any = place.take(one, rows, batch)
        other: Any = place.take(part, rows, batch) if whole else part
        if place is ENTRIES:
            if not entries_same(mine, other):
                return False
            continue
        size = max(TOLERANCES.get(one.dtype, TOLERANCE), coarse)
        if mine.shape != other.shape or not torch.allclose(mine, other, rtol=size, atol=size, equal_nan=True):
            return False
    return True
