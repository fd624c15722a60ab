"""Accuracy against rank."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from taskfold.report import Results
from taskfold.report.drawing import (
    MUTED,
    WIDTH,
    Label,
    Row,
    beside,
    family,
    log_ticks,
    page_marks,
    rows,
    styled,
)

CAPTION = (
    "Thin lines are single tasks, the thick line is their mean with one standard deviation over seeds where "
    "there are several. Dashed lines: mean of the other methods."
)


@styled
def figure(results: Results) -> Figure | None:
    """One line per task and their mean for the method of several ranks, the other methods as horizontal references."""
    every = rows(results)
    table = [row for row in every if row.tasks()]
    ladder = _ladder(table)
    if len(ladder) < 2:
        return None
    steps = [row for _, row in ladder]
    references = [row for row in table if row not in steps]
    tone = page_marks(results)
    color, name = tone[steps[-1].label].color, _name(steps)
    total, last = len(results.tasks), ladder[-1][0]
    labels: list[Label] = []
    height = max(3.8, 0.19 * (total + len(references)) + 1)
    drawing = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = drawing.add_subplot()

    for task in results.tasks if total > 1 else ():
        found = [(rank, 100 * stat.mean) for rank, row in ladder if (stat := row.accuracy(task.name))]
        if found:
            axes.plot([x for x, _ in found], [y for _, y in found], "o-", color=MUTED, lw=1, ms=3, alpha=0.7)
            labels.append(Label(*found[-1], task.name, MUTED))
    common = steps[0].tasks().intersection(*(row.tasks() for row in steps))
    means = [(rank, stat) for rank, row in ladder if (stat := row.mean(common))]
    if means:
        heights = [100 * stat.mean for _, stat in means]
        spreads = [100 * (stat.std or 0) for _, stat in means]
        style: dict[str, Any] = {"fmt": "o-", "color": color, "lw": 2.5, "ms": 6, "capsize": 3, "zorder": 4}
        axes.errorbar([rank for rank, _ in means], heights, spreads, **style)
        what = f"{name} mean" if total > 1 else f"{name} {results.tasks[0].name}"
        labels.append(Label(last, heights[-1], what + _partial(len(common), total), color, strong=True))
    for row in references:
        mean = row.mean()
        assert mean is not None  # it has tasks
        color = tone[row.label].color
        axes.axhline(100 * mean.mean, color=color, lw=1.2, ls="--", alpha=0.9)
        labels.append(Label(last, 100 * mean.mean, row.label + _partial(len(row.tasks()), total), color))

    log_ticks(axes, [rank for rank, _ in ladder], lambda value: f"{value:g}")
    axes.set_xlim(ladder[0][0] / 1.25, last * 1.25)
    axes.set_xlabel(f"rank R of {name} (logarithmic)")
    axes.set_ylabel("test accuracy (%)")
    axes.margins(y=0.06)
    beside(axes, labels, height - 0.8)
    return drawing


def _ladder(table: list[Row]) -> list[tuple[float, Row]]:
    """The rows of the method to look at, one per rank, ascending: FTN first, then the one with most ranks."""
    by_method: dict[str, dict[float, Row]] = {}
    for row in table:
        if row.rank is not None:
            by_method.setdefault(row.method, {}).setdefault(row.rank, row)
    if not by_method:
        return []
    chosen = max(by_method, key=lambda method: (family(method) == "ftn", len(by_method[method])))
    return sorted(by_method[chosen].items())


def _name(steps: list[Row]) -> str:
    """What the labels of all ranks have in common, such as FTN of FTN R=1 and FTN R=4."""
    words = steps[0].label.split()
    shared = [word for word in words if "=" not in word and all(word in row.label.split() for row in steps)]
    return " ".join(shared) or steps[0].method


def _partial(tasks: int, total: int) -> str:
    return "" if tasks == total else f" ({tasks} tasks)"
