"""Tasks grouped by their mixing weights."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from .._format import shorten
from .._style import MUTED
from .._svg import WIDTH, styled
from ..schema import Routing
from ._grouping import tree
from ._heat import heatmap, scale

CAPTION = (
    "Distance between two tasks: the part of the mix that one puts on other experts than the other, from 0 (the same "
    "mix in every layer) to 1 (no expert in common), averaged over all layers and groups. Left: the closest tasks or "
    "groups are joined first, at their mean distance (average linkage). Right: every pair, in the same order down and "
    "across; dark blocks along the diagonal are groups of tasks that share experts."
)

FLOOR = 0.02  # smaller distances are drawn as 0, so that noise does not look like structure


@styled
def figure(routing: Routing) -> Figure | None:
    """A dendrogram beside the matrix of distances, if tasks differ."""
    total, distances = len(routing.tasks), np.array(routing.distances)
    if not distances.any():
        return None
    found = tree(routing)
    leaves = found["leaves"]
    names = [shorten(routing.tasks[index], 40) for index in leaves]
    size = 8 if total <= 60 else 6
    tall = max(1.25 * size / 72 * total, 1.2)
    drawing = Figure(figsize=(WIDTH, tall + 1.2), layout="constrained")
    left, right = drawing.subplots(1, 2, width_ratios=(1, 2))
    for depth, place in zip(found["dcoord"], found["icoord"], strict=True):
        left.plot(depth, [(at - 5) / 10 for at in place], color=MUTED, lw=1.2)
    top = max(max(depth) for depth in found["dcoord"])
    left.set_xlim(1.05 * max(top, FLOOR), 0)
    left.set_ylim(total - 0.5, -0.5)
    left.set_yticks([])
    left.spines["left"].set_visible(False)
    left.grid(axis="y", visible=False)
    left.tick_params(axis="x", labelsize=8)
    left.locator_params(axis="x", nbins=3)
    left.set_xlabel("distance", fontsize=9)

    image = heatmap(right, distances[np.ix_(leaves, leaves)], cmap="viridis", vmin=0, vmax=max(distances.max(), FLOOR))
    right.yaxis.tick_right()
    right.set_yticks(range(total), names, fontsize=size)
    right.set_xticks([])
    scale(drawing, image, right, "distance", 0.12 / tall)
    return drawing
