"""Text files that people write: lists, tables, lines."""

from __future__ import annotations

import csv
import json
from io import StringIO
from pathlib import Path
from typing import Any

Columns = tuple[str, ...]


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, without a byte order mark; lines end with a newline.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file has another encoding, or a NUL character; the message names the place.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: not UTF-8 text: {error.reason} at byte {error.start}; save it as UTF-8 (Excel: CSV UTF-8)"
        ) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ValueError(f"{path}, line {line}: text has a NUL character; leave it out")
    return text


def read_table(path: Path, delimiter: str = ",") -> tuple[Columns, list[tuple[str, dict[str, str]]]]:
    """The columns of a table, and its rows with their places, for messages; empty lines are left out.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is in another encoding, has a column twice, an open quotation, or a row with more or fewer values
            than columns.
    """
    lines = csv.reader(StringIO(read_text(path)), delimiter=delimiter, skipinitialspace=True, strict=True)
    found: list[tuple[str, list[str]]] = []
    begin = 1
    try:
        for values in lines:
            if values:
                found.append((f"{path}, line {begin}", values))
            begin = lines.line_num + 1
    except csv.Error as error:
        raise ValueError(
            f"{path}, line {begin}: cannot be read: {error}; a value that begins with a quotation mark must end with "
            "one, and those in it are doubled"
        ) from None
    columns = tuple(found[0][1]) if found else ()
    if twice := [column for at, column in enumerate(columns) if column in columns[:at]]:
        raise ValueError(f"{path}: must have each column once, found {twice[0]!r} twice; rename one or take it out")
    for place, values in found[1:]:
        if len(values) != len(columns):
            raise ValueError(
                f"{place}: must have {len(columns)} values ({', '.join(columns[:5])}), found {len(values)}; quote a "
                f"value that has {delimiter!r} in it"
            )
    return columns, [(place, dict(zip(columns, values, strict=True))) for place, values in found[1:]]


def read_json(text: str | bytes) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: the text is not JSON, has NaN or an infinity, or a key twice.
        RecursionError: it nests too deep.
    """
    return json.loads(text, parse_constant=_no_number, object_pairs_hook=_once)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"key {key!r:.60} stands there twice")
        found[key] = value
    return found


def _no_number(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON")
