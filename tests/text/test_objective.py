"""The three losses against loops over tokens, in value and gradient."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import transformers
from torch import Tensor, nn

from taskfold import MultiTask
from taskfold.text import Collator, Example, Objective

from .networks import EXAMPLES, KINDS, TASKS, collator, shared, tokenizer

ONLY = {"lm": Objective(1, 0, 0), "mc": Objective(0, 1, 0), "ul": Objective(0, 0, 1)}


def token_probabilities(net: MultiTask, kind: str, task: str, example: Example, target: str) -> Tensor:
    """p of each token of a target, end included, from a run of this one text, without padding."""
    source = tokenizer()(example.input, add_special_tokens=kind != "decoder-only")["input_ids"]
    written = [*tokenizer()((" " if kind == "decoder-only" else "") + target, add_special_tokens=False)["input_ids"], 1]
    if kind == "decoder-only":
        logits = net(input_ids=torch.tensor([source + written]), task=task).logits[0]
        first = len(source) - 1
    else:
        decoded = torch.tensor([[0, *written[:-1]]])
        logits = net(input_ids=torch.tensor([source]), decoder_input_ids=decoded, task=task).logits[0]
        first = 0
    return torch.stack([logits[first + n].double().softmax(-1)[token] for n, token in enumerate(written)])


def naive(net: MultiTask, kind: str, task: str, example: Example, normalised: bool) -> dict[str, Tensor]:
    worth, wrong, lm = [], [], None
    for choice in example.choices or (example.target,):
        p = token_probabilities(net, kind, task, example, choice)
        worth.append(p.log().sum() / (len(p) if normalised else 1))
        if choice == example.target:
            lm = -p.log().sum() / len(p)
        else:
            wrong += [-(1 - one).log() for one in p]
    assert lm is not None
    zero = torch.zeros((), dtype=torch.double)
    if not example.choices:
        return {"lm": lm, "mc": zero, "ul": zero}
    answer = example.choices.index(example.target)
    mc = -(worth[answer].exp() / torch.stack(worth).exp().sum()).log()
    return {"lm": lm, "mc": mc, "ul": torch.stack(wrong).sum() / len(wrong)}


def gradients(losses: Tensor, net: nn.Module) -> Tensor:
    weights = torch.arange(1.0, len(losses) + 1, dtype=losses.dtype)  # each example's own gradient counts
    found = torch.autograd.grad((losses * weights).sum(), [p for p in net.parameters() if p.requires_grad])
    return torch.cat([gradient.flatten() for gradient in found])


@pytest.mark.parametrize(("part", "normalised"), [("lm", True), ("mc", True), ("mc", False), ("ul", True)])
@pytest.mark.parametrize("kind", KINDS)
def test_each_loss_is_the_naive_one(kind: str, part: str, normalised: bool) -> None:
    net = shared(kind, torch.float64)
    found = replace(ONLY[part], length_normalised=normalised)(net, collator(kind)(EXAMPLES), TASKS)
    pairs = zip(TASKS, EXAMPLES, strict=True)
    true = torch.stack([naive(net, kind, task, example, normalised)[part] for task, example in pairs])
    single = kind == "encoder-decoder" and transformers.__version__ < "5"  # the softmax of its attention
    torch.testing.assert_close(found, true, rtol=2e-6 if single else 1e-8, atol=1e-8 if single else 1e-10)
    near = {"rtol": 1e-2, "atol": 1e-3} if single else {"rtol": 1e-6, "atol": 1e-9}
    torch.testing.assert_close(gradients(found, net), gradients(true, net), **near)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_weigh_and_nothing_is_averaged_over_the_batch(kind: str) -> None:
    net, batch = shared(kind), collator(kind)(EXAMPLES)
    parts = {name: only(net, batch, TASKS) for name, only in ONLY.items()}
    found = Objective(lm=0.5, mc=2, ul=3)(net, batch, TASKS)
    assert found.shape == (len(EXAMPLES),)
    torch.testing.assert_close(found, 0.5 * parts["lm"] + 2 * parts["mc"] + 3 * parts["ul"])
    assert parts["mc"][1] == 0
    assert parts["ul"][1] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_mixed_batch_is_its_tasks_one_by_one(kind: str) -> None:
    net, make = shared(kind), collator(kind)
    mixed = Objective()(net, make(EXAMPLES), TASKS)
    alone = torch.cat([Objective()(net, make([one]), task) for task, one in zip(TASKS, EXAMPLES, strict=True)])
    other = torch.cat([Objective()(net, make([one]), task) for task, one in zip("baab", EXAMPLES, strict=True)])
    torch.testing.assert_close(mixed, alone, rtol=1e-4, atol=1e-5)
    assert (mixed - other).abs().min() > 1e-3


class Fixed(nn.Module):
    """Gives the logits that it was made with."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, **_: object) -> SimpleNamespace:
        return SimpleNamespace(logits=self.logits)


def certain(gap: float, dtype: torch.dtype = torch.float32) -> tuple[Fixed, Collator, list[Example]]:
    """A network that is sure of "n" and the end, the wrong answer, by a margin."""
    logits = torch.zeros(2, 2, 259, dtype=dtype)
    logits[:, 0, ord("n") + 3] = gap
    logits[:, 1, 1] = gap
    return Fixed(logits), Collator(tokenizer(), causal=False), [Example("?", "y", ("y", "n"))]


@pytest.mark.parametrize("gap", [0.0, 5.0, 30.0, 200.0, 60000.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_unlikelihood_is_finite_and_pulls_however_sure_the_network_is(gap: float, dtype: torch.dtype) -> None:
    net, make, examples = certain(gap, dtype)
    found = ONLY["ul"](net, make(examples), "any")
    # −log(1 − p) = log(258 + e^gap) − log 258, exactly
    expected = math.log(258 + math.exp(gap)) - math.log(258) if gap < 700 else gap - math.log(258)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(expected, rel=1e-5, abs=1e-6)
    found.backward()
    assert net.logits.grad is not None
    p = 1 / (1 + 258 * math.exp(-gap))
    torch.testing.assert_close(net.logits.grad[1, 0, ord("n") + 3].item(), p / 2, rtol=2e-3, atol=1e-6)
    assert net.logits.grad.isfinite().all()


def test_half_precision_is_scored_in_float32() -> None:
    net, batch = shared("encoder-decoder"), collator("encoder-decoder")(EXAMPLES)
    half = Fixed(net(**batch.inputs, task="a").logits.detach().bfloat16())
    full = Fixed(half.logits.detach().float())
    assert torch.equal(Objective()(half, batch, "a"), Objective()(full, batch, "a"))


def test_without_choices_only_language_modelling_is_left() -> None:
    net, make = shared("encoder-decoder"), collator("encoder-decoder", with_choices=False)
    batch = make(EXAMPLES)
    assert torch.equal(Objective()(net, batch, TASKS), ONLY["lm"](net, batch, TASKS))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lm": -1}, "lm must be a finite weight >= 0, found -1"),
        ({"ul": float("nan")}, "ul must be a finite weight"),
        ({"lm": 0, "mc": 0, "ul": 0}, "nothing would be learned"),
    ],
)
def test_impossible_weights_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Objective(**settings)  # type: ignore[arg-type]


def test_as_many_names_as_examples() -> None:
    with pytest.raises(ValueError, match="4 examples, found 3 names"):
        Objective()(shared("decoder-only"), collator("decoder-only")(EXAMPLES), TASKS[:3])
