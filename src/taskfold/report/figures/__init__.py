"""The figures of the report, in order: each draws what the results allow, or returns None."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from matplotlib.figure import Figure

from ..additions import Section
from ..schema import Comparison, Results, Routing
from . import affinity, clusters, costs, curves, distributions, layers, parameters, ranks, routing, similarity, studies

FIGURES = (
    Section("parameters", "Accuracy against parameters", parameters.CAPTION, parameters.figure),
    Section("curves", "Learning curves", curves.CAPTION, curves.figure),
    Section("layers", "Where the weights moved", layers.CAPTION, layers.figure),
    Section("ranks", "The rank of each layer", ranks.CAPTION, ranks.figure),
)


def cost_sections(comparison: Comparison, index: int) -> list[Section]:
    """Scores over costs, if a comparison has both."""
    draw = partial(costs.figure, comparison=comparison)
    return [Section(f"sides-{index}", f"{comparison.title}: what it costs", costs.caption(comparison), draw)]


def study_sections(results: Results) -> list[Section]:
    """One figure for each study."""
    return [
        Section(f"study-{index}", study.title, studies.caption(study), partial(studies.figure, study=study))
        for index, study in enumerate(results.studies)
    ]


def affinity_sections(results: Results) -> list[Section]:
    """One figure for each measure of each map of affinities."""
    return [
        Section(
            f"affinity-{index}-{matrix.measure}",
            affinity.TITLES[matrix.measure],
            affinity.caption(found, matrix),
            lambda _, found=found, matrix=matrix: affinity.figure(found, matrix),
        )
        for index, found in enumerate(results.affinity)
        for matrix in found.matrices
    ]


def routing_sections(found: Routing, key: str) -> list[Section]:
    """The figures of one method's routing; ``key`` is the prefix of their anchors."""
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
