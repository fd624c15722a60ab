"""Errors by which a network is refused: it, or one of its layers, can't do what was asked."""

from __future__ import annotations


class RefusalError(Exception):
    """A network or a layer can't do what was asked; the message names it and the remedy."""


class UnfitError(RefusalError, TypeError):
    """A network or a layer is of a kind that does not fit."""


class StateError(RefusalError, RuntimeError):
    """A network would write what is not its own, or go on from what is not known to be its task's."""
