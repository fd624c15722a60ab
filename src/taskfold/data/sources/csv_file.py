"""A CSV file that lists images and their labels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from ...files import read_table
from ...problems import Cells, Problem
from .._errors import DataError, MissingDataError, first_few
from .._images import FileImages
from ._base import CLASSES, Parts, Source
from ._rows import SPLITS, parts_of, read_labels


class Row(NamedTuple):
    """A line: its place, the image's path as written, its label columns, its split (empty: not named)."""

    place: str
    path: str
    cells: Cells
    split: str


class CsvFile(Source):
    """Columns `path`, `label` and perhaps `split` (train, val or test); paths are relative to the file's folder.

    A problem names other label columns, one or several: `problem: {kind: regression, columns: [height, weight]}`.

    Attributes:
        file: the CSV file, UTF-8, with a header.
        labels: the class names, in order; None: those in the file, sorted (as numbers if all are).
    """

    kind: Literal["csv"] = "csv"
    file: Path
    labels: tuple[str, ...] | None = None

    @property
    def origin(self) -> str:
        return f"csv:{self.file.stem}"

    def parts(self) -> Parts:
        """Official splits if the file has them."""
        return self.parts_for(CLASSES)

    def parts_for(self, problem: Problem) -> Parts:
        """The parts, with labels from the columns that the problem names."""
        path = self.file.expanduser()
        rows = _read(path, problem)
        labels = read_labels(problem, [(row.place, row.cells) for row in rows])
        _consistent(path, rows)
        if absent := [row.path for row in rows if not (path.parent / row.path).is_file()]:
            raise MissingDataError(
                f"{path}: {len(absent)} of {len(rows)} images do not exist: {first_few(absent)}; "
                f"paths count from {path.parent.absolute()}"
            )
        names = [row.path for row in rows]
        images = FileImages([path.parent / name for name in names])
        found = parts_of(str(path), problem, labels, [row.split for row in rows], images, names)
        return found if self.labels is None else _ordered(path, found, self.labels)


def _ordered(path: Path, found: Parts, labels: Sequence[str]) -> Parts:
    """The classes in the source's order."""
    if not found.problem.of_classes:
        raise DataError(f"{path}: labels are of classes, and problem {found.problem.kind!r} has none; leave them out")
    if odd := sorted({*found.labels} - {*labels}):
        raise DataError(f"{path}: has {first_few(odd)}, not among the labels: {first_few(labels)}")
    return found.renamed(labels)


def _read(path: Path, problem: Problem) -> list[Row]:
    if not path.is_file():
        raise MissingDataError(f"file: no file {path.absolute()}")
    try:
        columns, lines = read_table(path)
    except ValueError as error:
        raise DataError(str(error)) from None
    if absent := [column for column in ("path", *problem.columns) if column not in columns]:
        raise DataError(
            f"{path}: must have a column {absent[0]!r}, found {first_few(columns) or 'none'}; commas part columns"
        )
    rows: list[Row] = []
    for place, line in lines:
        values = {column: value.strip() for column, value in line.items()}
        cells = tuple(values[column] for column in problem.columns)
        row = Row(place, values["path"], cells, values.get("split", ""))
        if not row.path:
            raise DataError(f"{place}: path must not be empty, found {list(values.values())}")
        if "split" in columns and row.split not in SPLITS:
            raise DataError(f"{place}: split must be train, val or test, found {row.split!r}")
        rows.append(row)
    if not rows:
        raise DataError(f"{path}: lists no images")
    return rows


def _consistent(path: Path, rows: list[Row]) -> None:
    """Checks that no image has two labels or two splits, however its path is written."""
    first: dict[str, Row] = {}
    for row in rows:
        before = first.setdefault(os.path.realpath(path.parent / row.path), row)
        if before[1:] != row[1:]:
            also = "" if before.path == row.path else f", as {before.path},"
            raise DataError(f"{path}: {row.path} is listed{also} as {_said(before)} and as {_said(row)}; keep one")


def _said(row: Row) -> list[object]:
    return [*row.cells, row.split]
