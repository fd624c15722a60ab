"""The figures of the report, in its order: each draws what the results allow, or None."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure

from ..schema import Results
from . import curves, layers, parameters, rank


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
