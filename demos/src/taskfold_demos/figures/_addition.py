"""What reports get from the demonstrations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import ClassVar

from taskfold.report import Results
from taskfold.report.additions import Addition, Chapter, Section
from taskfold.report.schema import Comparison, Part

from . import comparison as dots
from . import gains as bars
from . import rank
from ._gainer import gainer
from ._gains import Gains
from ._gains_table import as_comparison

TEMPLATE = Path(__file__).with_name("gains.html")


class PaperFigures(Addition):
    """The key `gains` of a document, accuracy against rank, and a comparison's first shares as dots."""

    keys: ClassVar[Mapping[str, type[Part]]] = {"gains": Gains}

    def figures(self, results: Results) -> Iterable[Section]:
        """Accuracy against rank."""
        return [Section("rank", "Accuracy against rank", rank.CAPTION, rank.figure)]

    def beneath(self, comparison: Comparison, key: str) -> Iterable[Section]:
        """Dots beside the number of parameters."""
        draw = partial(dots.figure, comparison=comparison)
        return [Section(key, comparison.title, dots.caption(comparison), draw)]

    def chapters(self, results: Results) -> Iterable[Chapter]:
        """What methods gain over single-task networks."""
        shown: tuple[Gains, ...] = getattr(results, "gains", ())
        return [_chapter(gains, index) for index, gains in enumerate(shown)]


def _chapter(gains: Gains, index: int) -> Chapter:
    draw = partial(bars.figure, gains=gains)
    return Chapter(
        key="gains",
        index=index,
        part=gains,
        tasks=gains.tasks,
        labels=tuple(row.label for row in gains.rows),
        headline=gainer(gains),
        table=as_comparison(gains),
        sections=(Section(f"gains-{index}-bars", gains.title, bars.caption(gains), draw),),
        template=TEMPLATE.read_text(encoding="utf-8"),
    )
