"""Reads rows of JSON lines, CSV and TSV files."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from ..files import read_json, read_table, read_text

Row = dict[str, Any]


def read_rows(path: Path, others: Sequence[str] = ()) -> list[tuple[str, Row]]:
    """Each row, and its place for messages; empty lines are left out. An error names the `others`, too.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the suffix is not .jsonl, .csv or .tsv, there are no rows, or a line cannot be read.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no file {path.absolute()}")
    readers = {".jsonl": _json_lines, ".csv": _table, ".tsv": _table}
    if path.suffix.lower() not in readers:
        raise ValueError(
            f"{path}: the name must end with one of {', '.join((*others, *readers))}, found {path.suffix!r}"
        )
    if not (rows := readers[path.suffix.lower()](path)):
        raise ValueError(f"{path}: has no rows")
    return rows


def text_of(row: Row, column: str, place: str) -> str:
    """A row's text in a column."""
    value = row.get(column)
    text = str(value).strip() if isinstance(value, str | int) else ""
    if not text:
        raise ValueError(f"{place}: {column} must be a text that is not empty, found {value!r}")
    return text


def columns_of(rows: Sequence[tuple[str, Row]], *, among: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """The first of these sets of columns that the first row has.

    Raises:
        ValueError: it has none of these sets.
    """
    place, first = rows[0]
    for columns in among:
        if first.keys() >= set(columns):
            return tuple(columns)
    wanted = " or ".join(", ".join(columns) for columns in among)
    raise ValueError(f"{place}: must have the columns {wanted}; found {', '.join(map(str, first)) or 'none'}")


def _json_lines(path: Path) -> list[tuple[str, Row]]:
    rows: list[tuple[str, Row]] = []
    for number, line in enumerate(StringIO(read_text(path)), 1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        try:
            row = read_json(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{place}: is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise ValueError(f"{place}: must be a JSON object, found {type(row).__name__}")
        rows.append((place, row))
    return rows


def _table(path: Path) -> list[tuple[str, Row]]:
    return list(read_table(path, "\t" if path.suffix.lower() == ".tsv" else ",")[1])
