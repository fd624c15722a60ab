"""A method of given recipes, for tests of the rooms below methods."""

from __future__ import annotations

from typing import Any

from torch import nn

from taskfold.layers import Composition, Recipe
from taskfold.methods import Method


class OfRecipes(Method):
    """What the recipes make, in that order."""

    name = "given"

    def __init__(self, *recipes: Recipe) -> None:
        self.__dict__["recipes"] = recipes

    def compose(self, network: nn.Module) -> Composition:
        return Composition(self.__dict__["recipes"])

    def with_settings(self, **settings: object) -> OfRecipes:
        return self

    def as_json(self) -> dict[str, Any]:
        return {"name": self.name, "settings": {}}
