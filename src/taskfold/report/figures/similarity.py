"""The similarity of the experts in each layer."""

from __future__ import annotations

import math
import statistics
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import FuncFormatter

from .._format import MINUS, shorten
from .._style import TONES
from .._svg import WIDTH, styled
from ..schema import RoutedLayer, Routing
from ._heat import heatmap
from ._labels import Label, beside
from ._places import Place, places

CAPTION = (
    "Above: cosine between two experts of a layer, without its sign, mean over all pairs; dots are layers, lines the "
    "mean of a part of the block. Near 0 the experts are unrelated, at 1 they are copies of each other. Below: every "
    "pair in the layers whose experts are least, middling and most alike."
)
TINTS = ("ftn", "fine-tuning", "head-norm", "other-2", "other-1", "lora")
NUMBERED = 10  # most experts whose cosines are printed in a panel
Known = list[tuple[Place, RoutedLayer, float]]


@styled
def figure(routing: Routing) -> Figure | None:
    """Mean |cosine| over depth, and the matrices of three layers."""
    spots = places([layer.layer for layer in routing.layers])
    pairs = ((spot, layer, _likeness(layer)) for spot, layer in zip(spots, routing.layers, strict=True))
    known = [(spot, layer, mean) for spot, layer, mean in pairs if mean is not None]
    if not known:
        return None
    drawing = Figure(figsize=(WIDTH, 4.8), layout="constrained")
    above, below = drawing.subfigures(2, 1, height_ratios=(2.5, 2.3), squeeze=False)[:, 0]
    _depth(above.add_subplot(), list(dict.fromkeys(spot.row for spot in spots)), known)

    ranked = sorted(known, key=lambda each: each[-1])
    chosen = [ranked[index] for index in sorted({0, len(ranked) // 2, len(ranked) - 1})]
    panels = below.subplots(1, 3, squeeze=False)[0]
    images = [_matrix(axes, spot, layer) for axes, (spot, layer, _) in zip(panels, chosen, strict=False)]
    for axes in panels[len(chosen) :]:
        axes.set_visible(False)
    bar = below.colorbar(images[0], ax=list(panels), location="right", aspect=20, fraction=0.05)
    bar.set_label("cosine", fontsize=8)
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", MINUS)))
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)
    return drawing


def _depth(axes: Axes, blocks: list[str], known: Known) -> None:
    parts = list(dict.fromkeys(spot.part for spot, _, _ in known))
    labels = []
    for index, part in enumerate(parts):
        style: dict[str, Any] = {"color": TONES[TINTS[index % len(TINTS)]][0]}
        found: dict[str, dict[int, list[float]]] = {}  # by stack: no line runs from encoder to decoder
        for spot, _, mean in known:
            if spot.part == part:
                found.setdefault(spot.stack, {}).setdefault(blocks.index(spot.row), []).append(mean)
        for stack in found.values():
            means = {at: statistics.fmean(values) for at, values in stack.items()}
            axes.plot(list(means), list(means.values()), lw=1.8, **style)
            dots = [(at, value) for at, values in stack.items() for value in values]
            axes.plot(*zip(*dots, strict=True), "o", ms=3.5, alpha=0.6, **style)
            if stack is list(found.values())[-1]:
                labels.append(Label(max(means), means[max(means)], part, style["color"]))
    every = max(1, math.ceil(len(blocks) * 0.15 / (WIDTH - 1.6)))
    axes.set_xticks(range(0, len(blocks), every), blocks[::every], fontsize=8, rotation=90 if len(blocks) > 6 else 0)
    axes.set_xlim(-0.5, len(blocks) - 0.5)
    axes.set_ylim(0, max(1.15 * max(mean for *_, mean in known), 0.01))
    axes.tick_params(axis="y", labelsize=8)
    axes.set_ylabel("mean |cosine|", fontsize=9)
    axes.set_xlabel("block, from input to output", fontsize=9)
    if parts != [""]:
        beside(axes, labels, 1.6, size=8)


def _matrix(axes: Axes, spot: Place, layer: RoutedLayer) -> AxesImage:
    cosines = np.array(layer.similarity, dtype=float)
    image = heatmap(axes, cosines, cmap="RdBu_r", vmin=-1, vmax=1)
    axes.set_aspect("equal")
    axes.set_title(f"{spot.row}\n{shorten(' '.join(filter(None, spot.kind)), 24)}", fontsize=8, loc="left")
    axes.set_xticks([])
    axes.set_yticks([])
    for (i, j), value in np.ndenumerate(cosines) if len(cosines) <= NUMBERED else ():
        if i != j and np.isfinite(value):
            color = "#ffffff" if abs(value) > 0.6 else "#1a1a1a"  # on the image, hence the same in light and dark
            axes.text(j, i, _cosine(value), ha="center", va="center", fontsize=5, color=color)
    return image


def _likeness(layer: RoutedLayer) -> float | None:
    """The mean absolute cosine between different experts."""
    values = [
        abs(value)
        for i, row in enumerate(layer.similarity)
        for j, value in enumerate(row)
        if i != j and value is not None
    ]
    return statistics.fmean(values) if values else None


def _cosine(value: float) -> str:
    text = f"{abs(value):.2f}".removeprefix("0")
    return (MINUS if value < -0.005 else "") + text
