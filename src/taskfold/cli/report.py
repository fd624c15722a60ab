from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..report import read_results, summary_table, write_report
from ._output import say, show


def report(
    results: Annotated[Path, typer.Argument(metavar="RESULTS.json", help="The results file of train or demo.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The HTML file; default: beside the results.")
    ] = None,
) -> None:
    """Turn a results file into one self-contained HTML page, and print its table."""
    document = read_results(results)
    written = write_report(document, output or results.parent / "report.html")
    show(summary_table(document))
    say(f"The report is {written}")
