"""Distributions of the experts' weights and the mixing weights."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .._format import shorten
from .._style import DASHES, MUTED, TONES
from .._svg import WIDTH, styled
from ..schema import Histogram, RoutedLayer, Routing
from ._inventory import inventory
from ._places import places

SHOWN = 4
TINTS = ("ftn", "fine-tuning", "head-norm", "other-2")
CAPTION = (
    "Left: all weights of the experts of {shown}; a narrow peak means that they hardly moved from zero. The outermost "
    "bins hold what lies beyond. Right: all mixing weights of all tasks and layers; one peak at {even} (dotted) means "
    "that every task mixes evenly, mass at both ends that tasks choose their experts."
)


def caption(routing: Routing) -> str:
    """The caption of the figure."""
    number = len(_shown(routing))
    shown = "all layers" if number == len(routing.layers) else f"{number} layers, evenly spaced from input to output"
    return CAPTION.format(shown=shown, even=f"1/{inventory(routing).experts}")


@styled
def figure(routing: Routing) -> Figure | None:
    """Histograms as shares, logarithmic."""
    layers = _shown(routing)
    if not layers and routing.alpha is None:
        return None
    drawing = Figure(figsize=(WIDTH, 2.9), layout="constrained")
    left, right = drawing.subplots(1, 2)
    names = dict(zip((layer.layer for layer in routing.layers), _names(routing), strict=True))
    for index, layer in enumerate(layers):
        if layer.experts is not None:
            style = {"color": TONES[TINTS[index]][0], "ls": DASHES[index], "lw": 1.5}
            left.stairs(*_shares(layer.experts), label=shorten(names[layer.layer], 30), **style)
    left.set_xlabel("weight of an expert")
    left.set_ylabel("share of the weights (%)")
    left.xaxis.set_major_locator(MaxNLocator(5))
    if layers:
        drawing.legend(loc="outside upper left", ncols=2, frameon=False, fontsize=8)
    if routing.alpha is not None:
        right.stairs(*_shares(routing.alpha), fill=True, color=TONES["ftn"][0], alpha=0.75)
        right.axvline(1 / inventory(routing).experts, color=MUTED, ls=":", lw=1.5)
    right.set_xlabel("mixing weight α")
    for axes in (left, right):
        axes.set_ylim(bottom=0)
        axes.tick_params(labelsize=9)
    return drawing


def _shown(routing: Routing) -> list[RoutedLayer]:
    known = [layer for layer in routing.layers if layer.experts is not None]
    picked = np.linspace(0, len(known) - 1, min(SHOWN, len(known))).round().astype(int)
    return [known[index] for index in picked]


def _names(routing: Routing) -> list[str]:
    return [" ".join(filter(None, (spot.row, *spot.kind))) for spot in places([each.layer for each in routing.layers])]


def _shares(histogram: Histogram) -> tuple[np.ndarray, np.ndarray]:
    counts = np.array(histogram.counts, dtype=float)
    return 100 * counts / max(counts.sum(), 1), np.linspace(histogram.low, histogram.high, len(counts) + 1)
