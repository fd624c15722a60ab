"""Classification tasks with arbitrary names."""

from __future__ import annotations

from collections import defaultdict

from taskfold.problems import Classification
from taskfold.train._classification import seams_of
from taskfold.train._seams import Seams


def classification() -> Seams:
    """Cross-entropy and accuracy."""
    return seams_of(defaultdict(Classification))
