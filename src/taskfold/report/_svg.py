"""A matplotlib figure as inline SVG with real text and the page's colours."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from ._style import GRID, INK, MUTED, TONES

WIDTH = 5.8  # inches: 10 pt text stays readable on a telephone

RC: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib; the page's own font is a little narrower
    "font.size": 10,
    "text.color": INK,
    "text.parse_math": False,  # a task may be named "$x$"
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.titlesize": 10,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "svg.fonttype": "none",
}
_VARIABLES = {light: f"var(--{name})" for name, (light, _) in TONES.items()}
_HEX = re.compile(r"#[0-9a-f]{6}\b")
_LINKS = re.compile(r"#(?=[A-Za-z_])")


def styled(draw: Callable[..., Figure | None]) -> Callable[..., Figure | None]:
    """Run a figure function under the report's settings; the caller's settings are restored."""

    @wraps(draw)
    def wrapper(*args: Any, **kwargs: Any) -> Figure | None:
        with mpl.rc_context(RC):
            return draw(*args, **kwargs)

    return wrapper


def to_svg(figure: Figure, name: str, title: str) -> str:
    """The ``<svg>`` element, the same bytes for the same figure.

    Args:
        figure: the figure.
        name: the prefix of all ids, so that several figures can share a page.
        title: the figure's content, for screen readers.
    """
    buffer = io.StringIO()
    with mpl.rc_context({**RC, "svg.hashsalt": name}), warnings.catch_warnings():
        # The browser has the glyphs that matplotlib's font lacks; only the measured width is inexact.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from ", category=UserWarning)
        # `savefig` writes the same bytes, and draws twice.
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None, "Creator": None})
    root = ElementTree.fromstring(buffer.getvalue())
    for element in root.iter():
        element.tag = element.tag.partition("}")[2]
        element.attrib = {_local(key): _adapt(_local(key), value, name) for key, value in element.attrib.items()}
    for defs in root.findall("defs"):  # matplotlib's style sheet would affect the whole page
        for sheet in defs.findall("style"):
            defs.remove(sheet)
    for metadata in root.findall("metadata"):
        root.remove(metadata)
    root.attrib.update({"role": "img", "aria-label": title})
    return ElementTree.tostring(root, encoding="unicode")


def _local(key: str) -> str:
    return key.rpartition("}")[2]


def _adapt(key: str, value: str, name: str) -> str:
    if key == "id":
        return f"{name}-{value}"
    if key in {"href", "clip-path"} and not value.startswith("data:"):
        return _LINKS.sub(f"#{name}-", value)
    if key == "style":
        linked = re.sub(r"url\(#", f"url(#{name}-", value)
        return _HEX.sub(lambda found: _VARIABLES.get(found[0], found[0]), linked)
    return value
