"""Reports: a results document as one self-contained HTML page, or as a table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

try:
    from ._affinity_record import affinity_record
    from ._format import duration
    from ._routing_record import routing_record
    from ._source import ResultsError, read_results
    from ._terminal import summary_table
    from .schema import Results
except ModuleNotFoundError as error:
    if error.name not in {"pydantic", "rich"}:
        raise
    raise ImportError(f'taskfold.report needs {error.name}: pip install "taskfold[report]"') from error

__all__ = [
    "Results",
    "ResultsError",
    "affinity_record",
    "duration",
    "read_results",
    "routing_record",
    "summary_table",
    "write_report",
]


def write_report(results: Results | Mapping[str, Any] | Path, out: Path) -> Path:
    """Write a report of ``results`` as a self-contained HTML file.

    Args:
        results: a results document (`taskfold.report.schema`): the mapping, or the path of its JSON file.
        out: the HTML file to write; missing folders are made, an older report is replaced atomically.

    Returns:
        The path written.

    Raises:
        ImportError: matplotlib, jinja2 or scipy is missing.
        FileNotFoundError: the results file does not exist.
        ResultsError: the document does not fit the schema; the message names file and key.
        ValueError: ``out`` does not end in .html, or is a folder.
    """
    try:
        from ._page import write_page  # noqa: PLC0415 - an optional extra
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in {"matplotlib", "jinja2", "scipy"}:
            raise
        raise ImportError(f'write_report needs {package}: pip install "taskfold[report]"') from error
    return write_page(results, out)
