"""Rows of images with labels of any problem, as parts of a task's data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...problems import Cells, Problem, TargetError
from .._errors import DataError
from .._images import Read
from .._sets import ImageSet
from ._base import Parts

SPLITS = ("train", "val", "test")


def read_labels(problem: Problem, rows: Sequence[tuple[str, Cells]]) -> list[object]:
    """The label of each row.

    Args:
        problem: what labels are.
        rows: where each stands, for messages, and its cells.
    """
    found: list[object] = []
    for place, cells in rows:
        try:
            found.append(problem.read(cells))
        except TargetError as error:
            raise DataError(f"{place}: {error}") from None
    return found


def parts_of(
    origin: str, problem: Problem, labels: Sequence[object], splits: Sequence[str], read: Read, names: Sequence[str]
) -> Parts:
    """Rows as the splits that they name.

    Args:
        origin: for messages.
        problem: what the labels are.
        labels: of each row.
        splits: of each row; empty: it names none.
        read: the number of a row → its image.
        names: of the images.
    """
    try:
        problem, outputs = problem.fitted(labels)
        targets = [problem.target(label, outputs) for label in labels]
    except TargetError as error:
        raise DataError(f"{origin}: {error}") from None
    whole = ImageSet(targets, read, names)
    if not any(splits):
        return Parts(outputs, whole, problem=problem)
    rows: Mapping[str, list[int]] = {part: [n for n, one in enumerate(splits) if one == part] for part in SPLITS}
    sets = {part: whole.subset(mine) if mine or part == "train" else None for part, mine in rows.items()}
    assert sets["train"] is not None
    return Parts(outputs, sets["train"], sets["val"], sets["test"], problem=problem)


__all__ = ["SPLITS", "parts_of", "read_labels"]
