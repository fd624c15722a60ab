"""The law of learning fails if a part of a task is frozen, and excuses what mathematics keeps still."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
import torch
from torch import nn

import taskfold as tfold
from taskfold import MultiTask
from taskfold.factors import STATISTICS
from taskfold.layers import Fitting, Norms, Part
from taskfold.testing import check_method
from taskfold.testing._alone import learning, unlearned
from taskfold.testing._subject import Subject, leaves_of

from ..methods.cases import CASES, NETWORKS, Case

SMALL = ("torch-encoder", "timm-vit", "torchvision-vit", "hf-vit")


class Block(nn.Module):
    """Two convolutions, each with normalisation and a nonlinearity that is nowhere flat."""

    num_features = 6

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.first = nn.Conv2d(3, 4, 3, stride=4, bias=False), nn.BatchNorm2d(4)
        self.conv, self.second = nn.Conv2d(4, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.same, self.third = nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.tanh(self.second(self.conv(torch.tanh(self.first(self.stem(x))))))
        return torch.tanh(self.third(self.same(y))).mean((2, 3))


@dataclass(frozen=True)
class Frozen(Subject):
    """A subject, some of whose leaves are frozen; an entry of `parameters` freezes a parameter of the head."""

    leaves: frozenset[str] = field(default_factory=frozenset)
    parameters: frozenset[str] = field(default_factory=frozenset)

    def model(self, *names: str) -> MultiTask:
        model = super().model(*names)
        for name in names:
            for held in leaves_of(model[name]):
                if held.where in self.leaves:
                    held.tensor.requires_grad_(False)
            for key, parameter in model[name].head.named_parameters():  # type: ignore[union-attr]
                if key in self.parameters:
                    parameter.requires_grad_(False)
        return model


def subject(case: Case, **frozen: frozenset[str]) -> Frozen:
    name = next((name for name in SMALL if name in case.networks), "block")
    torch.manual_seed(0)
    build, method = NETWORKS.get(name, Block), case.method
    try:
        tfold.MultiTask(build(), method).add_task("a")
    except (ValueError, TypeError):  # residual blocks, say
        name = case.networks[0]
        build = NETWORKS[name]
    # A task that does not fold is judged by its own gradient, which is zero behind a matrix at zero.
    if tfold.count(build(), method).contracted is None and "init" in method.as_json()["settings"]:
        method = method.with_settings(init="authors")
    return Frozen(method, name, build, **frozen)


def trained(case: Case) -> list[str]:
    task = subject(case).model("a")["a"]
    return [held.where for held in leaves_of(task) if held.group != STATISTICS and held.group.trained]


EXCUSED = ("bias'", "/beta'", "leaf 'scalars'")
"""A bias on keys, or right before BatchNorm: of branches the β, of copies the bias. What scalars of a mask add to a
whole weight is the same for all channels, and LayerNorm takes it off."""
JUDGED = [case for case in CASES if case.method.name not in ("adaptformer", "astmt", "adashare", "spottune")]
"""The first two start at a zero that hides what is before it, and have no other start; gates are no dense tensors."""
IN_PARTS = pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=pytest.mark.whole if n % 3 else (), id=str(case)) for n, case in enumerate(JUDGED)],
)


@IN_PARTS
def test_all_that_is_frozen_is_named(case: Case) -> None:
    """Each leaf is judged by itself; so one that is frozen alone is named too."""
    leaves = trained(case)
    torch.manual_seed(0)
    found = unlearned(subject(case, leaves=frozenset(leaves)))
    excused = [leaf for leaf in leaves if leaf not in found]
    assert all(leaf.endswith(EXCUSED) for leaf in excused), excused
    assert len(excused) <= len(leaves) / 3


@IN_PARTS
def test_one_frozen_leaf_breaks_the_law(case: Case) -> None:
    for leaf in trained(case)[:: max(1, len(trained(case)) // 2)][:2]:
        if leaf.endswith(EXCUSED):
            continue
        with pytest.raises(AssertionError) as raised:
            learning(subject(case, leaves=frozenset({leaf})))
        # Where a factor that starts at zero is frozen, its partner does not learn either.
        assert leaf in str(raised.value)


@pytest.mark.parametrize("parameter", ["weight", "bias"])
def test_a_frozen_head_breaks_the_law(parameter: str) -> None:
    frozen = frozenset({parameter})
    with pytest.raises(AssertionError, match=f"1 leaves stay as they are in training: head, parameter '{parameter}'"):
        learning(Frozen(tfold.HeadNorm(), "block", Block, parameters=frozen))


class Biased(nn.Module):
    """An embedding, of which the input shows a part, and a bias right before BatchNorm."""

    num_features = 4

    def __init__(self) -> None:
        super().__init__()
        self.never, self.words = nn.Embedding(3, 4), nn.Embedding(5, 4)
        self.linear, self.norm = nn.Linear(4, 4), nn.BatchNorm1d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.words(x[:, 0]) + 0 * self.never(x[:, 0] % 3)
        return self.norm(self.linear(y))


def test_what_cannot_move_is_excused() -> None:
    words = torch.tensor([[0], [1], [2], [4]])
    frozen = frozenset({"layer 'linear', part '0:own', leaf 'bias'", "layer 'never', part '0:own', leaf 'weight'"})
    one = Frozen(tfold.FineTuning(statistics="own"), "biased", Biased, lambda rows: words[:rows], leaves=frozen)
    torch.manual_seed(0)
    learning(one)
    torch.manual_seed(0)
    weight = frozenset({"layer 'linear', part '0:own', leaf 'weight'"})
    with pytest.raises(AssertionError, match="layer 'linear', part '0:own', leaf 'weight'"):
        learning(Frozen(tfold.FineTuning(statistics="own"), "biased", Biased, lambda rows: words[:rows], leaves=weight))


def test_an_error_names_law_method_network_and_value(monkeypatch: pytest.MonkeyPatch) -> None:
    fit = Norms.fit

    def frozen(self: Norms, at: Fitting) -> Iterator[tuple[str, str, Part]]:
        for path, name, part in fit(self, at):
            yield path, name, part.requires_grad_(False)

    monkeypatch.setattr(Norms, "fit", frozen)
    said = (
        r"law 'learning', method 'lora' \{.*'rank': 2.*\}, network 'flat': 2 leaves .* layer '1', part '\d:own', leaf"
    )
    with pytest.raises(AssertionError, match=said):
        check_method(
            tfold.LoRA(rank=2, layers="linear", norm=True),
            {"flat": lambda: nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 8))},
            inputs=lambda rows: torch.linspace(-1, 1, 4 * rows).sin().reshape(rows, 4),
            num_features=8,
            laws=["learning"],
        )
