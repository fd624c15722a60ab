"""The figures of the report, in its order: each draws what the results allow, or None."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from matplotlib.figure import Figure

from ..schema import Comparison, Gains, Results, Routing
from . import clusters, comparison, curves, distributions, gains, layers, parameters, rank, routing, similarity, studies


@dataclass(frozen=True)
class Section:
    """A figure's place on the page: ``key`` is its anchor, ``caption`` says how to read it."""

    key: str
    title: str
    caption: str
    figure: Callable[[Results], Figure | None]


FIGURES = (
    Section("rank", "Accuracy against rank", rank.CAPTION, rank.figure),
    Section("parameters", "Accuracy against parameters", parameters.CAPTION, parameters.figure),
    Section("curves", "Learning curves", curves.CAPTION, curves.figure),
    Section("layers", "Where the weights moved", layers.CAPTION, layers.figure),
)


def comparison_section(shown: Comparison, key: str) -> Section:
    """The figure of a comparison, where it has one."""
    return Section(key, shown.title, comparison.caption(shown), partial(comparison.figure, comparison=shown))


def gain_section(shown: Gains, key: str) -> Section:
    """The figure of what methods gain over single-task networks."""
    return Section(key, shown.title, gains.caption(shown), partial(gains.figure, gains=shown))


def study_sections(results: Results) -> list[Section]:
    """One figure for each study."""
    return [
        Section(f"study-{index}", study.title, studies.caption(study), partial(studies.figure, study=study))
        for index, study in enumerate(results.studies)
    ]


def routing_sections(found: Routing, key: str) -> list[Section]:
    """The figures of one method's routing; ``key`` begins their anchors."""
    drawn: tuple[tuple[str, str, str, Callable[[Routing], Figure | None]], ...] = (
        ("weights", "Who uses which expert", routing.caption(found), routing.figure),
        ("overview", "The tasks side by side", routing.overview_caption(found), routing.overview),
        ("tree", "Tasks grouped by their routing", clusters.CAPTION, clusters.figure),
        ("similarity", "How alike the experts are", similarity.CAPTION, similarity.figure),
        ("distributions", "Distributions", distributions.caption(found), distributions.figure),
    )
    return [
        Section(f"{key}-{name}", title, caption, lambda _, draw=draw: draw(found))
        for name, title, caption, draw in drawn
    ]
