"""Figures of the papers' comparisons, for reports: accuracy against rank, gains over single-task networks, dots."""

from ._addition import PaperFigures
from ._gains import GainRow, GainRun, Gains

__all__ = ["GainRow", "GainRun", "Gains", "PaperFigures"]
