"""Sphinx extension: the tables of the configuration page, from the schemas that `taskfold schema` writes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from taskfold.config.schema import Command, Row, rows, schema

MARK = re.compile(r"<!-- keys: (\w+) -->")
HEAD = ["| key | type | default | range | meaning |", "|---|---|---|---|---|"]


def tables(name: str) -> str:
    """The tables behind a mark: of a section of `train`, or of what one command has for itself."""
    whole = schema("train")
    if "anyOf" in whole["properties"].get(name, {}):
        return "\n\n".join(_each(whole["properties"][name]["anyOf"]))
    listed = rows(whole)
    if name == "train":
        return _table(listed)
    if name not in get_args(Command):
        raise ValueError(f"<!-- keys: {name} --> must name a command or a section; found {name!r}")
    common = {row[0] for row in listed}
    return _table([row for row in rows(schema(name)) if row[0] not in common or name == row[0].partition(".")[0]])  # type: ignore[arg-type]


def _each(forms: list[Mapping[str, Any]]) -> Iterator[str]:
    for form in forms:
        if "properties" in form:
            listed = [row for row in rows(form) if row[0] not in ("kind", "name", "network") or row[4]]
            yield f"### `{form.get('title', 'model')}`\n\n{_table(listed)}"


def _table(listed: list[Row]) -> str:
    if not listed:
        return "It has no settings."
    return "\n".join([*HEAD, *(f"| {' | '.join(_cells(row))} |" for row in listed)])


def _cells(row: Row) -> Iterator[str]:
    key, *rest = (text.replace("|", "\\|").replace("\n", " ") for text in row)
    yield f"`{key}`"
    yield from rest


def _fill(_: object, docname: str, source: list[str]) -> None:
    if docname == "configuration":
        source[0] = MARK.sub(lambda mark: tables(mark[1]), source[0])


def setup(app: Any) -> dict[str, bool]:
    """Connect to Sphinx."""
    app.connect("source-read", _fill)
    return {"parallel_read_safe": True}
