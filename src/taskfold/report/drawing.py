"""The parts of a report's figures, for packages that add some: sizes, colours, labels, numbers as text."""

from ._format import MINUS, count, percent, shorten, signed
from ._marks import METHODS, page_marks
from ._style import INK, MUTED, Mark, family
from ._summary import Row, Stat, rows
from ._svg import WIDTH, styled
from .figures._labels import Label, beside, log_ticks

__all__ = [
    "INK",
    "METHODS",
    "MINUS",
    "MUTED",
    "WIDTH",
    "Label",
    "Mark",
    "Row",
    "Stat",
    "beside",
    "count",
    "family",
    "log_ticks",
    "page_marks",
    "percent",
    "rows",
    "shorten",
    "signed",
    "styled",
]
