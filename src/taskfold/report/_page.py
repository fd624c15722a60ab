"""The report as one HTML file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ..tasks import write_atomically
from . import _format
from ._by_task import SORTS, STATUS, WHOLE, by_task, sentence, sorted_places, with_mistakes
from ._comparison import tabulate
from ._headline import headline
from ._marks import METHODS, page_marks
from ._parts import png_size
from ._source import read_results
from ._style import TONES
from ._summary import Row, best, rows
from ._svg import to_svg
from ._table import build, cost_columns, mean_column, task_columns
from .additions import Section, additions, chapters
from .figures import FIGURES, affinity_sections, cost_sections, routing_sections, study_sections
from .schema import Comparison, Prediction, Results, Task

SHOWN_PREDICTIONS = 48
TINY = 48  # images narrower than this are enlarged without smoothing


@dataclass(frozen=True)
class Drawing:
    """A figure, drawn for the page."""

    section: Section
    svg: Markup


@dataclass(frozen=True)
class Samples:
    """Predictions of one run on one task."""

    task: Task
    label: str
    shown: tuple[Prediction, ...]
    total: int
    tiny: bool


def write_page(results: Results | Mapping[str, Any] | Path, out: Path) -> Path:
    """Check the document and the target, render the page, and write it atomically."""
    out = Path(out)
    if out.suffix.lower() not in {".html", ".htm"}:
        raise ValueError(f"out must end in .html, so that no other file is replaced by mistake; found {str(out)!r}")
    if out.is_dir():
        raise ValueError(f"out must be a file, found the folder {str(out)!r}; add a name such as report.html")
    document = read_results(results)
    page = render(document)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, page.encode())
    return out


def render(results: Results) -> str:
    """The whole page as a string."""
    environment = _environment()
    table, alone = rows(results), with_mistakes(by_task(results))
    return environment.get_template("report.html").render(
        results=results,
        headline=sentence(alone) if alone and not results.conclusion else headline(results),
        by_task=sorted_places(alone),
        sorts=SORTS,
        status=STATUS,
        whole=WHOLE,
        tiny=TINY,
        notes=_notes(results),
        accuracies=build(results, task_columns(results) + ((mean_column(results),) if len(results.tasks) > 1 else ())),
        costs=build(results, (mean_column(results), *cost_columns(results))),
        comparisons=[
            (comparison, tabulate(comparison), _drawings(results, _beneath(comparison, index)))
            for index, comparison in enumerate(results.comparisons)
        ],
        chapters=[
            (
                chapter,
                environment.from_string(chapter.template),
                tabulate(chapter.table),
                _drawings(results, chapter.sections),
            )
            for chapter in chapters(results)
        ],
        png_size=png_size,
        methods=METHODS,
        marks=page_marks(results),
        drawings=_drawings(
            results,
            (
                *_added(results),
                *([] if alone else FIGURES),  # for a single method a dot, and a panel for each task
                *affinity_sections(results),
                *study_sections(results),
            ),
        ),
        routings=[
            (routing, _drawings(results, routing_sections(routing, f"routing-{index}")))
            for index, routing in enumerate(results.routing)
        ],
        samples=[] if alone else _samples(results, table),
        failures=[run for run in results.runs if run.failed is not None],
        tones=TONES,
    )


@cache
def _environment() -> Environment:
    """Where templates are compiled, once for all pages."""
    environment = Environment(
        loader=PackageLoader("taskfold.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        anchor=_anchor,
        percent=_format.percent,
        share=_format.share,
        count=_format.count,
        size=_format.size,
        duration=_format.duration,
    )
    return environment


def _notes(results: Results) -> dict[str, list[str]]:
    """Every note once, with its tasks."""
    found: dict[str, list[str]] = {}
    for task in results.tasks:
        for note in task.notes:
            found.setdefault(note, []).append(task.name)
    return found


def _anchor(name: str) -> str:
    return quote(name, safe="")


def _added(results: Results) -> list[Section]:
    return [section for one in additions() for section in one.figures(results)]


def _beneath(comparison: Comparison, index: int) -> list[Section]:
    added = [section for one in additions() for section in one.beneath(comparison, f"costs-{index}")]
    return [*cost_sections(comparison, index), *added]


def _drawings(results: Results, sections: Iterable[Section]) -> list[Drawing]:
    drawn = ((section, section.figure(results)) for section in sections)
    return [
        Drawing(section, Markup(to_svg(figure, section.key, section.title)))  # escaped by ElementTree
        for section, figure in drawn
        if figure is not None
    ]


def _samples(results: Results, table: tuple[Row, ...]) -> list[Samples]:
    """The predictions on each task: of the best FTN that has some, else of the best method that has."""
    found = []
    for task in results.tasks:
        having = [row for row in table if any(run.predictions for run in row.on(task.name))]
        row = best(row for row in having if row.method.startswith("ftn")) or best(having)
        if row is None:
            continue
        predictions = next(run.predictions for run in row.on(task.name) if run.predictions)
        found.append(
            Samples(
                task=task,
                label=row.label,
                shown=predictions[:SHOWN_PREDICTIONS],
                total=len(predictions),
                tiny=predictions[0].width < TINY,
            )
        )
    return found
