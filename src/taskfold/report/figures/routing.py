"""The experts that the tasks use."""

from __future__ import annotations

import warnings

import numpy as np
from matplotlib.figure import Figure

from .._format import shorten
from .._svg import WIDTH, styled
from ..schema import Routing
from ._grouping import order
from ._heat import columns, heatmap, rows, scale
from ._inventory import inventory

SHOWN = 6
FLOOR = 0.01  # smaller differences are drawn as 0, so that noise does not look like structure
CAPTION = (
    "One panel per task ({shown}). Down: the blocks from input to output; across: for each kind of layer its "
    "{experts} experts side by side. The brighter, the larger the expert's share α of the mix{groups}; "
    "{even} is an even mix. Blank: the block has no such layer. Experts of two layers have nothing in common "
    "but their number."
)
OVERVIEW = (
    "All tasks, alike ones beside each other; across: for each kind of layer its {experts} experts, mean over the "
    "blocks{groups}. Red: the task uses the expert more than the tasks do on average; blue: less. Rows that look "
    "alike share their experts."
)


def caption(routing: Routing) -> str:
    """The caption of `figure`."""
    total, experts = len(routing.tasks), inventory(routing).experts
    shown = "all tasks" if total <= SHOWN else f"{SHOWN} of {total}, spread over the tree of tasks below"
    groups = ", mean over its groups" if any(layer.groups > 1 for layer in routing.layers) else ""
    return CAPTION.format(shown=shown, experts=experts, even=f"{1 / experts:.3g}", groups=groups)


def overview_caption(routing: Routing) -> str:
    """The caption of `overview`."""
    groups = " and groups" if any(layer.groups > 1 for layer in routing.layers) else ""
    return OVERVIEW.format(experts=inventory(routing).experts, groups=groups)


@styled
def figure(routing: Routing) -> Figure | None:
    """Small multiples: blocks × experts of a few tasks."""
    ranked, found = order(routing), inventory(routing)
    picked = np.linspace(0, len(ranked) - 1, min(SHOWN, len(ranked))).round().astype(int)
    tasks = [ranked[index] for index in picked]
    across = 1 if len(tasks) == 1 or len(found.kinds) > 16 else 2
    down = -(-len(tasks) // across)
    tall = min(max(0.1 * len(found.blocks), 0.8), 4.0)
    width = (WIDTH - 0.8) / across
    drawing = Figure(figsize=(WIDTH, (tall + 0.28) * down + 1.2), layout="constrained")
    panels = drawing.subplots(down, across, squeeze=False, sharex=True, sharey=True)
    shares = found.alpha[tasks]
    top = max(float(np.nanmax(shares)), 2 / found.experts)  # an even mixture is at or below the middle of the scale
    images = []
    for index, axes in enumerate(panels.flat):
        if index >= len(tasks):
            axes.set_visible(False)
            continue
        grid = shares[index].reshape(len(found.blocks), -1)
        images.append(heatmap(axes, grid, cmap="viridis", vmin=0, vmax=top))
        axes.set_title(shorten(routing.tasks[tasks[index]], 30), loc="left", fontweight="bold", fontsize=9)
        columns(axes, found.kinds, found.experts, width, parts=index + across >= len(tasks))
        rows(axes, found.blocks, 7, tall)
        axes.tick_params(labelbottom=index + across >= len(tasks))
    scale(drawing, images[0], panels, "share of the expert, α", 0.25 / (tall * down))
    return drawing


@styled
def overview(routing: Routing) -> Figure | None:
    """Tasks × experts of each kind of layer, against the mean of the tasks, if they differ."""
    if not np.any(routing.distances):
        return None
    ranked, found = order(routing), inventory(routing)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Mean of empty slice", RuntimeWarning)  # some kinds have fewer experts
        means = np.nanmean(found.alpha, axis=1).reshape(len(ranked), -1)[ranked]
    apart = means - means.mean(0)
    tall = max(0.145 * len(ranked), 1.0)
    drawing = Figure(figsize=(WIDTH, tall + 1.3), layout="constrained")
    axes = drawing.add_subplot()
    limit = max(float(np.nanmax(np.abs(apart))), FLOOR)
    image = heatmap(axes, apart, cmap="RdBu_r", vmin=-limit, vmax=limit)
    names = [shorten(routing.tasks[index], 30) for index in ranked]
    rows(axes, names, 8, tall)
    columns(axes, found.kinds, found.experts, WIDTH - 1 - min(0.055 * max(map(len, names)), 1.7))
    scale(drawing, image, axes, "α, difference from the mean of the tasks", 0.12 / tall)
    return drawing
