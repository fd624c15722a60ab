"""Each law fails where it should, and names the place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import taskfold as tfold
from taskfold.factors import LowRank
from taskfold.interventions import Beside, Change, Intervention
from taskfold.model import Bank, MultiTask
from taskfold.testing import LAWS, check_intervention, check_method
from taskfold.testing._compare import check_close


def small() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 8), nn.LayerNorm(8))


def check(law: str) -> None:
    method = tfold.LoRA(rank=2, layers="linear", norm=True)
    x = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    check_method(method, {"small": small}, inputs=lambda rows: x[:rows], num_features=8, laws=[law])


@pytest.mark.parametrize("law", LAWS)
def test_a_sound_method_keeps_the_laws(law: str) -> None:
    check(law)


def _one_row_off(run: Callable[..., Any]) -> Callable[..., Any]:
    def wrong(self: object, *args: Any, task: Any, **kwargs: Any) -> Any:
        found = run(self, *args, task=task, **kwargs)
        if isinstance(task, list) and not kwargs.get("broadcast") and len(set(task)) > 1:
            found[1] = 1.01 * found[1]
        return found

    return wrong


def _writes_backbone(self: MultiTask, *args: Any, **kwargs: Any) -> Any:
    with torch.no_grad():
        self.backbone[2].weight.add_(1e-6)  # type: ignore[index,union-attr,operator]
    return _forward(self, *args, **kwargs)


_forward, _ask, _changed = MultiTask.forward, Bank.forward, MultiTask._changed
FAULTS: dict[str, tuple[Any, str, Any, str]] = {
    "isolation": (MultiTask, "forward", _writes_backbone, "the backbone, when another task trains: '2.weight'"),
    "mixed": (MultiTask, "forward", _one_row_off(_forward), "row 1 of a mixed batch: "),
    "gradients": (MultiTask, "forward", _one_row_off(_forward), "mixed batch in training: output 'a'"),
    "bank": (Bank, "forward", _one_row_off(_ask), "row 1 of a bank's batch: "),
    "folding": (
        MultiTask,
        "_changed",
        lambda self, task: {key: 1.01 * tensor for key, tensor in _changed(self, task).items()},
        "output of the fold: found ",
    ),
    "counts": (
        tfold.Task,
        "counts",
        lambda self: {"factors": 1, "routing": 0, "norm": 0, "head": 0},
        r"Task\.counts\(\) says [10] of group",
    ),
}


@pytest.mark.parametrize("law", FAULTS)
def test_a_fault_breaks_its_law(law: str, monkeypatch: pytest.MonkeyPatch) -> None:
    where, name, fault, said = FAULTS[law]
    monkeypatch.setattr(where, name, fault)
    with pytest.raises(AssertionError, match=f"law '{law}', method 'lora' .*, network 'small': {said}"):
        check(law)


def test_equality_has_a_floor() -> None:
    one = torch.ones(3)
    check_close("here", one, one, one + 1)
    check_close("here", one, one)
    with pytest.raises(AssertionError, match=r"here: another task differs there by 0 tolerances of 0\.0001, fewer"):
        check_close("here", one, one, one)
    with pytest.raises(AssertionError, match="another task differs there by 25 tolerances"):
        check_close("here", one, one, one + 5e-3)
    with pytest.raises(AssertionError, match=r"here: found 1 where 2 was wanted \(number 0 of 3\)"):
        check_close("here", one, one + 1)
    with pytest.raises(AssertionError, match="found nan where 1 was wanted"):
        check_close("here", one * torch.nan, one)


def test_a_method_that_does_nothing_shows_nothing() -> None:
    with pytest.raises(AssertionError, match="the laws show nothing: the method hardly changes"):
        check_method(
            tfold.HeadNorm(),
            {"deaf": lambda: nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), Silent())},
            inputs=lambda rows: torch.ones(rows, 4),
            num_features=8,
            laws=["mixed"],
        )


class Silent(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 0 * x


@pytest.mark.parametrize(
    ("arguments", "said"),
    [({"laws": ["learn"]}, "law 'learn' is not known; laws: isolation, learning"), ({}, "networks is empty")],
)
def test_bad_arguments(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check_method(tfold.HeadNorm(), {}, **arguments)


class _Halved(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return tensor.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        return grad / 2


def halved(tensor: Tensor) -> Tensor:
    """The same numbers, with half of their gradient."""
    return _Halved.apply(tensor)  # type: ignore[no-any-return]


@pytest.mark.parametrize("form", ["materialise", "bottleneck"])
def test_a_wrong_gradient_of_one_leaf_is_found(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = getattr(LowRank, form)
    wrong = lambda self, leaves, modes: right(self, {**leaves, "up": halved(leaves["up"])}, modes)  # noqa: E731
    monkeypatch.setattr(LowRank, form, wrong)
    said = r"law 'factors'.*(materialise|bottleneck) of LowRank: gradient of 'up', against the slope"
    with pytest.raises(AssertionError, match=said):
        check("factors")


def two(**shapes: tuple[int, ...]) -> list[dict[str, Tensor]]:
    torch.manual_seed(0)
    return [{name: torch.randn(shape) for name, shape in shapes.items()} for _ in range(2)]


LAYERS: dict[str, tuple[Intervention, nn.Module, list[dict[str, Tensor]], Tensor]] = {
    "change-linear": (Change(), nn.Linear(4, 5), two(weight=(5, 4), bias=(5,)), torch.randn(5, 4)),
    "change-conv": (Change(), nn.Conv2d(3, 5, 3), two(weight=(5, 3, 3, 3)), torch.randn(5, 3, 6, 6)),
    "change-bias": (Change(), nn.Conv1d(3, 5, 3), two(bias=(5,)), torch.randn(5, 3, 6)),
    "change-norm": (Change(), nn.LayerNorm(4), two(weight=(4,), bias=(4,)), torch.randn(5, 4)),
    "beside-linear": (Beside(), nn.Linear(4, 5), two(up=(5, 2), down=(2, 4)), torch.randn(5, 3, 4)),
    "beside-conv": (Beside(), nn.Conv2d(3, 5, 3), two(up=(5, 2), down=(2, 3, 3, 3)), torch.randn(5, 3, 6, 6)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_interventions_keep_the_laws(name: str) -> None:
    check_intervention(*LAYERS[name])


@pytest.mark.parametrize(
    ("law", "method", "fault"),
    [
        ("works", "fits", lambda *_: False),
        ("works", "fits", lambda *_: True),
        ("inside", "run", lambda self, mine, call, layer, args, kwargs: Beside().run(mine, layer, layer, args, kwargs)),
        ("learns", "run", lambda self, mine, *rest: Beside().run({n: t.detach() for n, t in mine.items()}, *rest)),
        ("learns", "run", lambda self, mine, *rest: Beside().run({**mine, "up": mine["up"].detach()}, *rest)),
        ("learns", "run", lambda self, mine, *rest: Beside().run({**mine, "up": halved(mine["up"])}, *rest)),
        ("rows", "rows", lambda self, *given: Beside().rows(*given)[[0, 1, 2, 4, 3]]),
        ("works", "run", lambda self, mine, *rest: Beside().run({n: t.add_(1) for n, t in mine.items()}, *rest)),
        ("neutral", "neutral", lambda self, kind, shapes: {name: torch.ones(s).double() for name, s in shapes.items()}),
        ("neutral", "neutral", lambda self, kind, shapes: {"up": torch.zeros(shapes["up"]).double()}),
        ("served", "served", lambda self, kind, tensors: {"up": tensors["up"]}),
        ("served", "served", lambda self, kind, tensors: {name: 2 * tensor for name, tensor in tensors.items()}),
        ("rows", "rows", lambda self, tensors, rows, call, layer, args, kwargs: 1.01 * call(*args, **kwargs)),
        ("rows", "rows", lambda self, mine, rows, call, layer, *rest: Beside().rows(mine, rows, layer, layer, *rest)),
        ("folded", "folded", lambda self, kind, tensors, inside: {"weight": inside["weight"]}),
        ("folded", "folded", lambda self, kind, mine, inside: Beside().folded(kind, mine, kind.tensors())),
        ("folded", "folded", lambda *given: {**Beside.folded(*given), "nonsense": torch.ones(2)}),
        ("joined", "joined", lambda self, kind, inner, outer: inner),
    ],
)
def test_a_wrong_intervention_breaks_its_law(law: str, method: str, fault: Any) -> None:
    wrong = type("Wrong", (Beside,), {method: fault})()
    with pytest.raises(AssertionError, match=f"law '{law}', intervention 'beside', linear layer Linear: "):
        check_intervention(wrong, *LAYERS["beside-linear"][1:])
