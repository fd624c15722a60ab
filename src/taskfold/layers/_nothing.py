"""The error for a method that finds no layer of its kind in a network."""

from __future__ import annotations

from ..refusals import UnfitError


class NothingToAdaptError(ValueError):
    """A network has no layer of the kind that a method adapts."""


class GeometryError(UnfitError):
    """A method does not support a layer's kernel, stride or padding."""
