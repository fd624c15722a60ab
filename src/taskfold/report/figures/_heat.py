"""Heatmaps with names on both sides."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from .._format import shorten
from .._style import MUTED
from .._svg import WIDTH

Kind = tuple[str, str]
GLYPH = 0.6 / 72  # inches: width of a character of one point


def heatmap(axes: Axes, values: Any, **colours: Any) -> AxesImage:
    """Draw a matrix, first row on top; NaN stays blank."""
    masked = np.ma.masked_invalid(np.asarray(values, dtype=float))
    image = axes.imshow(masked, aspect="auto", interpolation="none", **colours)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return image


def rows(axes: Axes, names: Sequence[str], size: float, room: float) -> None:
    """Name the rows: all if ``room`` inches suffice, else every k-th."""
    every = max(1, math.ceil(len(names) * 1.1 * size / 72 / room))
    axes.set_yticks(range(0, len(names), every), list(names)[::every], fontsize=size)


def columns(axes: Axes, kinds: Sequence[Kind], experts: int, room: float, *, parts: bool = True) -> None:
    """Name the kinds of layers below their ``experts`` columns and, with ``parts``, their part of the block.

    ``room`` is the width in inches.
    """
    size, names = (8 if room > 3 else 7), [_brief(name) for _, name in kinds]
    longest = max(len(name) for name in names)
    upright = longest * size * GLYPH > room / len(kinds)
    centres = [experts * index + (experts - 1) / 2 for index in range(len(kinds))]
    axes.set_xticks(centres, names, fontsize=size, rotation=90 if upright else 0)
    for index in range(1, len(kinds)):
        strong = kinds[index][0] != kinds[index - 1][0]
        axes.axvline(experts * index - 0.5, color=MUTED, lw=1.4 if strong else 0.5)
    below = size * (0.6 * longest + 0.8 if upright else 2)
    start = 0
    for part, group in itertools.groupby(part for part, _ in kinds):
        number = len(list(group))
        if parts and part:
            axes.annotate(
                part.replace("-", "-\n").replace(".", ".\n"),
                (experts * (start + number / 2) - 0.5, 0),
                (0, -below),
                xycoords=axes.get_xaxis_transform(),
                textcoords="offset points",
                ha="center",
                va="top",
                fontsize=size,
                color=MUTED,
                linespacing=0.95,
            )
        start += number


def scale(figure: Figure, image: AxesImage, axes: Any, label: str, share: float) -> None:
    """A colour bar on top of ``axes``; it takes this share of their height."""
    bar = figure.colorbar(image, ax=axes, location="top", aspect=40, shrink=0.7, fraction=share, pad=share / 2)
    bar.ax.xaxis.set_major_locator(MaxNLocator(5))
    bar.set_label(label, fontsize=9)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)  # type: ignore[operator]


def _brief(name: str) -> str:
    return name.removesuffix("_proj") or name


LABELLED = 90  # with more layers, some have no name


def by_layer(layers: Sequence[str], tasks: Sequence[str], values: Any, label: str, **colours: Any) -> Figure:
    """Layers × tasks, input on top, with a labelled colour bar."""
    height = 1.6 + max(0.15 * min(len(layers), 1.5 * LABELLED), 0.8)
    width = min(WIDTH, 3.6 + 0.4 * len(tasks))
    drawing = Figure(figsize=(width, height), layout="constrained")
    axes = drawing.add_subplot()
    image = heatmap(axes, values, **colours)
    every = math.ceil(len(layers) / LABELLED)
    axes.set_yticks(range(0, len(layers), every), [shorten(name, 32) for name in layers[::every]], fontsize=8)
    axes.xaxis.tick_top()
    names = [shorten(name) for name in tasks]
    fits = 0.09 * max(map(len, names)) < (width - 1.8) / len(names)  # inches
    slant = {} if fits else {"rotation": 40 if len(tasks) <= 8 else 90, "ha": "left", "rotation_mode": "anchor"}
    axes.set_xticks(range(len(tasks)), names, fontsize=9, va="bottom" if fits else "center", **slant)
    bar = drawing.colorbar(image, ax=axes, location="top", fraction=0.12 / height, aspect=24, shrink=0.8)
    bar.set_label(label, fontsize=9)
    bar.ax.tick_params(labelsize=9)
    bar.outline.set_visible(False)  # type: ignore[operator]
    return drawing
