"""Tables of images with labels of any problem, as parts of a task's data."""

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
        problem: the meaning of labels.
        rows: the place of each, for messages, and its cells.

    Raises:
        DataError: a label cannot be read; the message has the first such place.
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
    """Rows, divided into the splits that they name.

    Args:
        origin: the source, for messages.
        problem: the meaning of labels.
        labels: the rows' labels.
        splits: the rows' splits; empty: not named.
        read: the number of a row → its image.
        names: the images' names.

    Raises:
        DataError: the labels do not make a task.
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
