"""Labels beside data points, without overlaps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from matplotlib.transforms import Bbox

from .._format import shorten

POINT = 1 / 72  # inch


class Label(NamedTuple):
    """A text for the data point (x, y ± spread)."""

    x: float
    y: float
    text: str
    color: str
    strong: bool = False
    spread: float = 0.0


def spread(wanted: Sequence[float], gap: float) -> list[float]:
    """Move ascending positions in [0, 1] as little as needed to lie ``gap`` apart, at worst evenly.

    >>> [round(place, 3) for place in spread([0.5, 0.5, 1.0], 0.1)]
    [0.45, 0.55, 1.0]
    """
    if not wanted:
        return []
    gap = min(gap, 1 / max(len(wanted) - 1, 1))
    # Blocks of touching labels, each centred on the mean of its members' wishes.
    blocks: list[list[float]] = []  # [first position, number, sum of offsets-corrected wishes]
    for want in wanted:
        blocks.append([want, 1, want])
        while len(blocks) > 1 and blocks[-2][0] + blocks[-2][1] * gap > blocks[-1][0]:
            _, number, wishes = blocks.pop()
            first = blocks[-1]
            wishes -= number * first[1] * gap
            first[1], first[2] = first[1] + number, first[2] + wishes
            first[0] = first[2] / first[1]
            first[0] = min(max(first[0], 0), 1 - (first[1] - 1) * gap)
    places: list[float] = []
    for start, number, _ in blocks:
        places.extend(start + index * gap for index in range(int(number)))
    return places


def beside(axes: Axes, labels: Sequence[Label], height: float, size: float = 9) -> None:
    """Put labels in the right margin at the height of their points; call this after setting the y limits.

    ``height`` is the axes' height in inches, roughly.
    """
    low, high = axes.get_ylim()
    ordered = sorted(labels, key=lambda label: label.y)
    wanted = [(label.y - low) / (high - low) for label in ordered]
    for label, place, want in zip(ordered, spread(wanted, 1.25 * size * POINT / height), wanted, strict=True):
        axes.annotate(
            shorten(label.text),
            xy=(1.0, want),
            xytext=(1.05, place),
            xycoords="axes fraction",
            textcoords="axes fraction",
            va="center",
            fontsize=size,
            color=label.color,
            fontweight="bold" if label.strong else "normal",
            arrowprops={
                "arrowstyle": "-",
                "color": label.color,
                "lw": 0.6,
                "shrinkA": 1,
                "shrinkB": 0,
                "relpos": (0, 0.5),
            },
            annotation_clip=False,
        )


def near(figure: Figure, axes: Axes, labels: Sequence[Label], size: float = 9) -> None:
    """Put each label next to its point, at the first free one of eight places."""
    figure.draw_without_rendering()  # fixes the layout, hence the pixel positions
    inside = figure.bbox
    taken = [_extent(axes, label) for label in labels]
    for label in labels:
        for place in _PLACES:
            text = axes.annotate(
                shorten(label.text, 28), (label.x, label.y), textcoords="offset points", **place,
                fontsize=size, color=label.color, fontweight="bold" if label.strong else "normal",
            )  # fmt: skip
            text.set_in_layout(False)
            box = text.get_window_extent()
            fits = inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0 and box.y1 <= inside.y1
            if (fits and not box.count_overlaps(taken)) or place is _PLACES[-1]:
                taken.append(box)
                break
            text.remove()


def _extent(axes: Axes, label: Label) -> Bbox:
    ends = [axes.transData.transform((label.x, label.y + sign * label.spread)) for sign in (-1, 1)]
    return Bbox([ends[0] - 6, ends[1] + 6])


def _place(dx: float, dy: float) -> dict[str, Any]:
    ha = "center" if dx == 0 else "left" if dx > 0 else "right"
    va = "center" if dy == 0 else "bottom" if dy > 0 else "top"
    return {"xytext": (dx, dy), "ha": ha, "va": va}


_PLACES = [_place(*at) for at in ((9, 0), (-9, 0), (0, 8), (0, -8), (7, 7), (7, -7), (-7, 7), (-7, -7), (0, 20))]


def log_ticks(axes: Axes, ticks: Sequence[float], show: Any) -> None:
    """Logarithmic x axis with exactly these ticks, printed by ``show``."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(list(ticks)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: show(value)))
