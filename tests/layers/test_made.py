"""A user's factorisation whose description contradicts its weight is refused when a task is added."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

import taskfold as tfold
from taskfold.factors import Bottleneck, Factorisation, Leaf, Modes
from taskfold.layers import Composition, Linears, Update
from taskfold.testing import check_method


@dataclass(frozen=True)
class Outer(Factorisation):
    """ΔW = row ⊗ col."""

    setting: Any = None  # any setting, with a hash or without

    def leaves(self, modes: Modes) -> dict[str, Leaf]:
        out, inp = modes.shape
        return {"row": Leaf((out,), ("out",), nn.init.zeros_), "col": Leaf((inp,), ("inp",), nn.init.normal_)}

    def materialise(self, leaves: Mapping[str, Tensor], modes: Modes) -> Tensor:
        return leaves["row"].unsqueeze(-1) * leaves["col"].unsqueeze(-2)


class Thin(Outer):
    def bottleneck(self, leaves: Mapping[str, Tensor], modes: Modes) -> Bottleneck | None:
        return Bottleneck(leaves["row"].unsqueeze(-1), leaves["col"].unsqueeze(-2))


def row(start: Any) -> Any:
    return lambda self, weight, modes: start(weight)


def wrong(base: type[Outer] = Outer, **methods: Any) -> Outer:
    return type("Mine", (base,), methods)()


WRONG = {
    "unknown": (
        wrong(begin=lambda self, weight, modes: {"rwo": weight.sum(1)}),
        r"begin of Mine starts 'rwo', which is",
    ),
    "start": (
        wrong(begin=lambda self, weight, modes: {"row": weight.sum(1)[:2]}),
        r"begin of Mine starts leaf 'row' at \(2,\), and it is \(8,\)",
    ),
    "leaf": (
        wrong(leaves=lambda self, modes: {"row": torch.zeros(8)}),
        "leaves of Mine gives 'row' as Tensor, not as a",
    ),
    "weight": (
        wrong(materialise=lambda self, leaves, modes: torch.zeros(3, 3) + leaves["row"].sum()),
        r"materialise of Mine makes \(3, 3\), and the layer's weight is \(8, 4\)",
    ),
    "transposed": (
        wrong(materialise=lambda self, leaves, modes: torch.outer(leaves["col"], leaves["row"])),
        r"materialise of Mine makes \(4, 8\), and the layer's weight is \(8, 4\)",
    ),
    "whole": (wrong(whole=lambda self, leaves, weight, modes: weight[:2]), r"whole of Mine makes \(2, 4\)"),
    "bottleneck": (
        wrong(Thin, bottleneck=lambda self, leaves, modes: Bottleneck(leaves["row"][:2, None], leaves["col"][None])),
        r"bottleneck of Mine makes \(2, 4\), and the layer's weight is \(8, 4\)",
    ),
}


@dataclass(frozen=True)
class Made(tfold.Method):
    made: Any = None
    name: ClassVar[str] = "toy-made"

    def compose(self, network: nn.Module) -> Composition:
        return Composition((Update(self.made, Linears()),))


@pytest.mark.parametrize(("made", "said"), WRONG.values(), ids=WRONG)
def test_what_is_made_is_what_is_said(made: Outer, said: str) -> None:
    model = tfold.MultiTask(nn.Sequential(nn.Linear(4, 8)), Made(made), num_features=8)
    with pytest.raises(ValueError, match=f"layer '0': {said}"):
        model.add_task("a")
    assert not len(model.tasks)


x = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "made", [Outer(), Outer([1]), Thin(), Thin(torch.ones(2))], ids=["whole", "list", "thin", "tensor"]
)
def test_a_sound_one_keeps_the_laws(made: Outer) -> None:
    model = tfold.MultiTask(nn.Sequential(nn.Linear(4, 8)), Made(made), num_features=8)
    assert model.add_task("a").counts()["factors"] == 12


def test_forms_that_disagree_break_a_law() -> None:
    @dataclass(frozen=True)
    class Twice(Thin):
        def bottleneck(self, leaves: Mapping[str, Tensor], modes: Modes) -> Bottleneck:
            return Bottleneck(2 * leaves["row"].unsqueeze(-1), leaves["col"].unsqueeze(-2))

    @dataclass(frozen=True)
    class ByTwice(tfold.Method):
        name: ClassVar[str] = "toy-twice"

        def compose(self, network: nn.Module) -> Composition:
            return Composition((Update(Twice(), Linears()),))

    said = (
        r"law 'factors', method 'toy-twice' .*layer '0', part '0:weight': materialise of Twice, beside its bottleneck"
    )
    with pytest.raises(AssertionError, match=said):
        check_method(ByTwice(), {"one": lambda: nn.Sequential(nn.Linear(4, 8))}, inputs=lambda n: x[:n], num_features=8)
