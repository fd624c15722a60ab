"""Reads a results document, and reports its errors."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from .additions import chapters, results_type
from .schema import VERSION, Results

SHOWN_PROBLEMS = 5


class ResultsError(ValueError):
    """A results document does not fit the schema: the message has the file, the key and the value found."""


def read_results(source: Results | Mapping[str, Any] | Path) -> Results:
    """Check a results document.

    Args:
        source: the mapping itself, or the path of a JSON file.

    Raises:
        FileNotFoundError: there is no such file.
        ResultsError: the file is not JSON, has a newer version, or wrong keys or values; the message has file and key.
        TypeError: `source` is neither a mapping nor a path.

    Example:
        >>> try:
        ...     read_results({"version": 2})
        ... except ResultsError as error:
        ...     print(error)
        results: version is 2, this Taskfold reads 1; update Taskfold to read it
    """
    if isinstance(source, Results):
        return source
    if isinstance(source, Mapping):
        where, document = "results", dict(source)
    elif isinstance(source, str | Path):
        where, document = str(source), _load(Path(source))
    else:
        raise TypeError(f"results must be a mapping or the path of a JSON file, found {type(source).__name__}")
    version = document.get("version")
    if isinstance(version, int) and version > VERSION:
        raise ResultsError(f"{where}: version is {version}, this Taskfold reads {VERSION}; update Taskfold to read it")
    try:
        results = results_type().model_validate(document)
    except ValidationError as error:
        raise ResultsError(_listing(where, [_sentence(each) for each in error.errors()])) from None
    if problems := list(_contradictions(results)):
        raise ResultsError(_listing(where, problems))
    return results


def _load(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"results file {path} does not exist or is not a file; give the JSON that a run wrote")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ResultsError(f"{path}: not JSON: {error.msg} (line {error.lineno}, column {error.colno})") from None
    except UnicodeDecodeError as error:
        raise ResultsError(f"{path}: not UTF-8 text: {error.reason} at byte {error.start}") from None
    if not isinstance(document, dict):
        raise ResultsError(f"{path}: the document must be a JSON object, found {type(document).__name__}")
    return document


def _listing(where: str, problems: list[str]) -> str:
    shown = problems[:SHOWN_PROBLEMS]
    if left := len(problems) - len(shown):
        shown.append(f"and {left} more")
    return f"{where}: " + "\n  ".join(shown)


def _sentence(error: Any) -> str:
    key = ""
    for part in error["loc"]:
        key += f"[{part}]" if isinstance(part, int) else f".{part}"
    key = key.lstrip(".") or "document"
    if error["type"] == "missing":
        return f"{key} is missing"
    if error["type"] == "extra_forbidden":
        return f"{key} is not a key of version {VERSION}, nor of a package that is installed"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "value_error":
        return f"{key}: {message}"
    found = repr(error["input"])
    return f"{key}: {message[:1].lower()}{message[1:]}, found {found if len(found) <= 60 else found[:57] + '…'}"


def _contradictions(results: Results) -> Iterator[str]:
    """Checks references between the parts, which no single part can check."""
    names = [task.name for task in results.tasks]
    for index, name in enumerate(names):
        if name in names[:index]:
            yield f"tasks[{index}].name: {name!r} is there twice; names must differ"
    listed = ", ".join(names)
    for key, parts in (("runs", results.runs), ("isolation", results.isolation)):
        for index, part in enumerate(parts):
            if part.task not in names:
                yield f"{key}[{index}].task: {part.task!r} is not among the tasks ({listed})"
    for name in results.mixed_batch.tasks if results.mixed_batch else ():
        if name not in names:
            yield f"mixed_batch.tasks: {name!r} is not among the tasks ({listed})"

    shown = [(f"scenes[{index}]", scenes.tasks) for index, scenes in enumerate(results.scenes)]
    shown += [(chapter.place, chapter.tasks) for chapter in chapters(results)]
    for place, tasks in shown:
        for name in tasks:
            if name not in names:
                yield f"{place}: the task {name!r} is not among the tasks ({listed})"

    for index, routing in enumerate(results.routing):
        if routing.label in [other.label for other in results.routing[:index]]:
            yield f"routing[{index}].label: {routing.label!r} is there twice; labels must differ"
        for place, name in enumerate(routing.tasks):
            if name not in names:
                yield f"routing[{index}].tasks[{place}]: {name!r} is not among the tasks ({listed})"

    methods: dict[str, str] = {}
    measured: set[tuple[str, str, int]] = set()
    for index, run in enumerate(results.runs):
        if methods.setdefault(run.label, run.method) != run.method:
            yield f"runs[{index}].label: {run.label!r} stands for {methods[run.label]!r} and {run.method!r}"
        key = (run.task, run.label, run.seed)
        if run.failed is None and key in measured:
            yield f"runs[{index}]: a second result for {run.task!r}, {run.label!r}, seed {run.seed}"
        if run.failed is None:
            measured.add(key)
