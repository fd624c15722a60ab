"""One method on many tasks: a row for each task, its confusions, and its most certain mistakes."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from ..evaluate import verdict, wilson
from ._format import percent
from .schema import Confusion, Prediction, Results, Run, Task

WHOLE = 12
"""The most classes of a confusion matrix that is shown whole; for more, the most frequent confusions are."""
PAIRS = 8
MISTAKES = 6
PICTURES = 900_000
"""The most characters of all pictures on a page."""
ORDER = ("failed", "no better", "undecided", "", "better")
STATUS = {one: one for one in ORDER} | {"undecided": "too few samples", "": "measured"}
"""A status in words, compared with always answering the largest class."""
IN_WORDS = {
    "failed": "failed",
    "no better": "no better than always answering the largest class",
    "undecided": "with too few test samples to tell",
    "": "measured",
    "better": "better than always answering the largest class",
}


@dataclass(frozen=True)
class Pair:
    """Images of one class that were predicted as another: how many, of how many."""

    true: str
    predicted: str
    number: int
    total: int


@dataclass(frozen=True)
class TaskRow:
    """The results of one task.

    Attributes:
        task, run: as in the results.
        confusion: its matrix; None: it has no classes, or failed.
        mistakes: the most certain ones first, as many as fit.
    """

    task: Task
    run: Run
    confusion: Confusion | None
    mistakes: tuple[Prediction, ...] = ()

    @property
    def count(self) -> int | None:
        """The number of test samples."""
        return self.task.test if self.confusion is None else sum(map(sum, self.confusion.cells))

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of accuracy."""
        if self.run.accuracy is None or not self.count:
            return None
        return wilson(self.run.accuracy * self.count, self.count)

    @property
    def baseline(self) -> float | None:
        """The accuracy of always answering the largest class."""
        return max(map(sum, self.confusion.cells)) / (self.count or 1) if self.confusion else None

    @property
    def worst(self) -> tuple[str, float] | None:
        """The class with the lowest recall."""
        return min(self.recalls, key=lambda one: one[1]) if self.recalls else None

    @property
    def recalls(self) -> list[tuple[str, float]]:
        """The recall of every class that has samples."""
        if self.confusion is None:
            return []
        found = enumerate(zip(self.confusion.labels, self.confusion.cells, strict=True))
        return [(label, row[n] / sum(row)) for n, (label, row) in found if sum(row)]

    @property
    def status(self) -> str:
        if self.run.failed is not None:
            return "failed"
        return verdict(self.confusion.cells) if self.confusion and self.count else ""

    @property
    def score(self) -> str:
        if self.run.accuracy is None:
            return "failed"
        low, high = self.interval or (self.run.accuracy, self.run.accuracy)
        return f"{percent(self.run.accuracy)} ({percent(low)} to {percent(high)})"

    @property
    def pairs(self) -> list[Pair]:
        """The most frequent confusions."""
        if self.confusion is None:
            return []
        labels, cells = self.confusion.labels, self.confusion.cells
        found = [
            Pair(labels[true], labels[said], number, sum(row))
            for true, row in enumerate(cells)
            for said, number in enumerate(row)
            if true != said and number
        ]
        return sorted(found, key=lambda pair: -pair.number)[:PAIRS]


SORTS: tuple[tuple[str, Callable[[TaskRow], object]], ...] = (
    ("worst first", lambda row: (ORDER.index(row.status), row.run.accuracy or 0.0)),
    ("task", lambda row: row.task.name.casefold()),
    ("samples", lambda row: row.count or 0),
    ("classes", lambda row: -len(row.task.labels)),
    ("accuracy", lambda row: row.run.accuracy or 0.0),
    ("above baseline", lambda row: (row.run.accuracy or 0.0) - (row.baseline or 0.0)),
    ("worst class", lambda row: row.worst[1] if row.worst else 2.0),
)


def by_task(results: Results) -> tuple[TaskRow, ...]:
    """A row for each task, worst first, if one method was trained once on each of several; else none."""
    runs = {run.task: run for run in results.runs}
    if len(runs) < 2 or len(runs) < len(results.runs) or len({run.label for run in results.runs}) > 1:
        return ()
    confusions = {one.task: one for one in results.confusions}
    found = [TaskRow(task, runs[task.name], confusions.get(task.name)) for task in results.tasks if task.name in runs]
    return tuple(sorted(found, key=SORTS[0][1]))  # type: ignore[arg-type, return-value]


def sorted_places(rows: tuple[TaskRow, ...]) -> list[tuple[TaskRow, list[int]]]:
    """Each row with its place in each order of `SORTS`."""
    orders = [sorted(rows, key=key) for _, key in SORTS]  # type: ignore[type-var, arg-type]
    places = [{id(row): place for place, row in enumerate(order)} for order in orders]
    return [(row, [place[id(row)] for place in places]) for row in rows]


def with_mistakes(rows: tuple[TaskRow, ...]) -> tuple[TaskRow, ...]:
    """The rows with their most certain mistakes: smaller pictures, then fewer, if they do not fit on the page."""
    wrong = [[one for one in row.run.predictions if one.predicted != one.target] for row in rows]
    shown = [sorted(each, key=lambda one: -(one.confidence or 0.0))[:MISTAKES] for each in wrong]
    if _size(shown) > PICTURES:
        shown = [[_small(one) for one in each] for each in shown]
    most = MISTAKES
    while most > 1 and _size(shown) > PICTURES:
        most -= 1
        shown = [each[:most] for each in shown]
    return tuple(replace(row, mistakes=tuple(each)) for row, each in zip(rows, shown, strict=True))


def _size(shown: Iterable[Iterable[Prediction]]) -> int:
    return sum(len(one.image) for each in shown for one in each)


def _small(shown: Prediction) -> Prediction:
    """A picture in 64 colours with at most 64 pixels a side: a few kilobytes."""
    from PIL import Image  # noqa: PLC0415  comes with matplotlib, of the report's extra

    with Image.open(io.BytesIO(base64.b64decode(shown.image))) as image:
        image.thumbnail((64, 64))
        buffer = io.BytesIO()
        image.convert("RGB").quantize(64).save(buffer, "PNG", optimize=True)
    return shown.model_copy(update={"image": base64.b64encode(buffer.getvalue()).decode()})


def sentence(rows: Iterable[TaskRow]) -> str:
    """The number of tasks of each status, as a sentence."""
    every = list(rows)
    label, parts = every[0].run.label, []
    for status in ORDER:
        number = sum(row.status == status for row in every)
        if number:
            parts.append(f"{number} {IN_WORDS[status]}")
    return f"{label} on {len(every)} tasks: {', '.join(reversed(parts))}."
