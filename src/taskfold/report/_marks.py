"""One mark for each method of a page, in all figures and tables."""

from __future__ import annotations

from dataclasses import replace

from ._style import DASHES, Mark, marks, method_of
from ._summary import rows
from .additions import chapters
from .schema import Results, Study

METHODS = "method"  # the heading of labels in comparisons of methods


def page_marks(results: Results) -> dict[str, Mark]:
    """A mark for every method of the page: those of the runs first, by size, then in order of appearance."""
    methods = {row.label: row.method for row in rows(results)}
    others = [row.label for each in results.comparisons if each.first == METHODS for row in each.rows]
    others += [routing.label for routing in results.routing]
    others += [series.label for study in results.studies for series in study.series]
    others += [label for chapter in chapters(results) for label in chapter.labels]
    others += [method for scenes in results.scenes for method in scenes.methods]
    for label in others:
        methods.setdefault(label, method_of(label))
    return marks(list(methods.items()))


def study_marks(results: Results, study: Study) -> dict[str, Mark]:
    """The page's colours; dashes distinguish lines of one colour; if dashes do not suffice, lines get other colours."""
    page = page_marks(results)
    members: dict[str, list[str]] = {}
    for series in study.series:
        members.setdefault(page[series.label].tone, []).append(series.label)
    if max(map(len, members.values())) > len(DASHES):
        return marks([(series.label, f"line {index}") for index, series in enumerate(study.series)])
    return {
        label: replace(page[label], dash=DASHES[behind], alpha=1.0)
        for group in members.values()
        for behind, label in enumerate(reversed(group))
    }
