"""Masks: the weight of the formula, the authors' gradient of scores, and bits with the same mask."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor

from taskfold.factors import Bits, Mask, Modes

CASES = [
    (Mask(), Modes((5,), (7,))),
    (Mask(threshold=0.0), Modes((6,), (4,), (3, 3))),
    (Mask(threshold=0.5, start=1.0, ternary=True), Modes((3, 2), (4,), (5,))),
    (Mask(ternary=True), Modes((8,), (1,), (3, 3), groups=8)),
]
every_case = pytest.mark.parametrize(("mask", "modes"), CASES)


def drawn(mask: Mask, modes: Modes, *tasks: int) -> Tensor:
    """Scores on both sides of each bound, and on the bounds."""
    torch.manual_seed(0)
    scores = torch.randn(*tasks, *modes.shape) * 3 * mask.start
    scores.view(-1)[:3] = torch.tensor([mask.threshold, 0.0, mask.start])
    return scores.requires_grad_()


def level(score: float, mask: Mask) -> int:
    if score > torch.tensor(mask.threshold).item():
        return 1
    return -1 if mask.ternary and score < 0 else 0


@every_case
def test_the_weight_is_the_formula(mask: Mask, modes: Modes) -> None:
    scores, weight = drawn(mask, modes), torch.randn(modes.shape)
    found = mask.whole({"mask": scores}, weight, modes)
    wanted = torch.tensor([level(m, mask) for m in scores.flatten().tolist()]).reshape(modes.shape)
    assert set(wanted.flatten().tolist()) == ({-1, 0, 1} if mask.ternary else {0, 1})
    assert torch.equal(found, weight * wanted)
    assert torch.equal(mask.materialise({"mask": scores}, modes), wanted.float())


@every_case
def test_scores_have_the_gradient_of_the_weight_times_the_weight(mask: Mask, modes: Modes) -> None:
    """Everywhere, also where the mask is 0."""
    scores, weight, toward = drawn(mask, modes), torch.randn(modes.shape), torch.randn(modes.shape)
    (mask.whole({"mask": scores}, weight, modes) * toward).sum().backward()
    torch.testing.assert_close(scores.grad, toward * weight)


@every_case
def test_it_starts_at_the_layer_s_own_weight(mask: Mask, modes: Modes) -> None:
    leaf, weight = mask.leaves(modes)["mask"], torch.randn(modes.shape)
    scores = torch.empty(leaf.shape)
    leaf.start(scores)
    assert scores.shape == modes.shape
    assert scores.eq(torch.tensor(mask.start)).all()
    assert torch.equal(mask.whole({"mask": scores}, weight, modes), weight)


@every_case
def test_masks_of_several_tasks_are_theirs_one_by_one(mask: Mask, modes: Modes) -> None:
    scores = drawn(mask, modes, 3)
    each = torch.stack([mask.materialise({"mask": one}, modes) for one in scores])
    assert torch.equal(mask.materialise({"mask": scores}, modes), each)
    assert torch.equal(torch.func.vmap(lambda one: mask.materialise({"mask": one}, modes))(scores), each)


@every_case
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_bits_say_the_same(mask: Mask, modes: Modes, dtype: torch.dtype) -> None:
    scores = drawn(mask, modes).detach().to(dtype)
    kept = mask.bits.pack(scores)
    assert kept.dtype == torch.uint8
    assert kept.shape == (2 if mask.ternary else 1, -(-scores.numel() // 8))
    again = mask.bits.unpack(kept, modes.shape)
    assert torch.equal(mask.bits.levels(again), mask.bits.levels(scores).float())
    assert torch.equal(mask.bits.pack(again), kept)


def test_the_first_number_is_the_lowest_bit() -> None:
    scores = torch.tensor([1.0, 0, 0, 0, 0, 0, 0, -1, 1, 0.5])
    assert Bits(0.5, 1.0).pack(scores).tolist() == [[0b1, 0b1]]
    assert Bits(0.5, 1.0, ternary=True).pack(scores).tolist() == [[0b1, 0b1], [0b10000000, 0]]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"threshold": -0.1}, "threshold must be a finite number ≥ 0, found -0.1"),
        ({"threshold": float("nan")}, "threshold must be a finite number ≥ 0, found nan"),
        ({"threshold": True}, "threshold must be a finite number ≥ 0, found True"),
        ({"threshold": "0.1"}, "threshold must be a finite number ≥ 0, found '0.1'"),
        ({"threshold": 0.01}, "threshold must be below 0.01, where scores start, found 0.01"),
        ({"start": float("inf")}, "start must be a finite number ≥ 0, found inf"),
        ({"ternary": 1}, "ternary must be true or false, found 1"),
    ],
)
def test_bad_settings_are_named_at_construction(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Mask(**settings)
