"""A CSV file that lists images and their labels."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Literal, NamedTuple

from .._errors import DataError, MissingDataError, first_few
from .._images import FileImages
from .._sets import ImageSet
from ._base import Parts, Source

SPLITS = ("train", "val", "test")


class Row(NamedTuple):
    """One line: the image's path as written, its label, its split (empty: none given)."""

    path: str
    label: str
    split: str


class CsvFile(Source):
    """Columns `path`, `label` and perhaps `split` (train, val or test); paths count from the file's folder.

    Attributes:
        file: the CSV file, UTF-8, with a header.
        labels: the class names, in order; None: those in the file, sorted (as numbers if all are).
    """

    kind: Literal["csv"] = "csv"
    file: Path
    labels: tuple[str, ...] | None = None

    @property
    def origin(self) -> str:
        """`csv:` and the file's name."""
        return f"csv:{self.file.stem}"

    def parts(self) -> Parts:
        """Official splits where the file has them."""
        path = self.file.expanduser()
        rows = _read(path)
        found = {row.label for row in rows}
        if self.labels and (odd := sorted(found - set(self.labels))):
            raise DataError(f"{path}: has {first_few(odd)}, not among the labels: {first_few(self.labels)}")
        labels = self.labels or tuple(sorted(found, key=int if all(map(str.isdecimal, found)) else None))
        _consistent(path, rows)
        if absent := [row.path for row in rows if not (path.parent / row.path).is_file()]:
            raise MissingDataError(
                f"{path}: {len(absent)} of {len(rows)} images do not exist: {first_few(absent)}; "
                f"paths count from {path.parent.absolute()}"
            )
        sets = {split: _images(path.parent, [row for row in rows if row.split == split], labels) for split in SPLITS}
        if not any(row.split for row in rows):
            return Parts(labels, _images(path.parent, rows, labels))
        return Parts(
            labels,
            sets["train"],
            sets["val"] if len(sets["val"]) else None,
            sets["test"] if len(sets["test"]) else None,
        )


def _read(path: Path) -> list[Row]:
    if not path.is_file():
        raise MissingDataError(f"file: no file {path.absolute()}")
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = csv.DictReader(file, skipinitialspace=True)
        columns = lines.fieldnames or ()
        if absent := [column for column in ("path", "label") if column not in columns]:
            raise DataError(f"{path}: must have a column {absent[0]!r}, found {first_few(columns) or 'none'}")
        rows: list[Row] = []
        for line in lines:
            row = Row(*((line.get(column) or "").strip() for column in Row._fields))
            if not row.path or not row.label:
                raise DataError(f"{path}, line {lines.line_num}: path and label must not be empty, found {list(row)}")
            if "split" in columns and row.split not in SPLITS:
                raise DataError(f"{path}, line {lines.line_num}: split must be train, val or test, found {row.split!r}")
            rows.append(row)
    if not rows:
        raise DataError(f"{path}: lists no images")
    return rows


def _consistent(path: Path, rows: list[Row]) -> None:
    """The same image must not have two labels, nor be in two splits."""
    first: dict[str, Row] = {}
    for row in rows:
        before = first.setdefault(row.path, row)
        if before != row:
            raise DataError(f"{path}: {row.path} is listed as {list(before[1:])} and as {list(row[1:])}; keep one")


def _images(root: Path, rows: list[Row], labels: tuple[str, ...]) -> ImageSet:
    index = {label: target for target, label in enumerate(labels)}
    paths = [row.path for row in rows]
    return ImageSet([index[row.label] for row in rows], FileImages([root / path for path in paths]), paths)
