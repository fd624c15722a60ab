"""Rank classification and generation, one by one and mixed."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from taskfold.text import Collator, Example, exact_match, generate, rank_classify

from .networks import EXAMPLES, KINDS, TASKS, VOCABULARY, Numbers, collator, model, shared
from .test_objective import token_probabilities

RANKED = [example for example in EXAMPLES if example.choices]
NAMES = [name for name, example in zip(TASKS, EXAMPLES, strict=True) if example.choices]


@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_those_of_each_choice_run_by_itself(kind: str, normalised: bool) -> None:
    net = shared(kind)
    result = rank_classify(net, NAMES, RANKED, collator(kind), batch_size=2, length_normalised=normalised)
    for name, example, scores in zip(NAMES, RANKED, result.scores, strict=True):
        for choice, score in zip(example.choices, scores, strict=True):
            p = token_probabilities(net, kind, name, example, choice).log()
            assert score == pytest.approx((p.mean() if normalised else p.sum()).item(), rel=1e-4, abs=1e-4)
    likeliest = tuple(int(torch.tensor(scores).argmax()) for scores in result.scores)
    assert result.predictions == likeliest
    right = [guess == example.answer for guess, example in zip(likeliest, RANKED, strict=True)]
    assert result.accuracy == sum(right) / len(right)


class Undecided(nn.Module):
    def forward(self, *, decoder_input_ids: torch.Tensor, **_: object) -> SimpleNamespace:
        return SimpleNamespace(logits=torch.zeros(*decoder_input_ids.shape, VOCABULARY))


def test_a_tie_does_not_go_to_the_true_answer() -> None:
    examples = [Example("?", "bb", ("aa", "bb")), Example("?", "aa", ("aa", "bb"))]
    result = rank_classify(Undecided(), "any", examples, collator("encoder-decoder"), batch_size=2)
    assert result.predictions == (0, 0)
    assert result.accuracy == 0.5


@pytest.mark.parametrize("mode", [True, False])
def test_measuring_changes_nothing(mode: bool) -> None:
    net = model("encoder-decoder").train(mode)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    rank_classify(net, "a", RANKED, collator("encoder-decoder"), batch_size=2)
    generate(net, "a", RANKED, collator("encoder-decoder"), batch_size=2, max_new_tokens=2)
    assert net.training is mode
    assert torch.is_grad_enabled()
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())


def test_the_mode_comes_back_after_an_error() -> None:
    net = model("encoder-decoder").train()
    with pytest.raises(ValueError, match="'c' is not known"):
        rank_classify(net, "c", RANKED, collator("encoder-decoder"), batch_size=2)
    assert net.training
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_a_mixed_batch_writes_what_its_tasks_write_one_by_one(kind: str, beams: int) -> None:
    net, make = shared(kind), Collator(Numbers(extra_ids=0), causal=kind == "decoder-only")
    mixed = generate(net, TASKS, EXAMPLES, make, batch_size=4, num_beams=beams, max_new_tokens=6)
    alone = [
        generate(net, task, [one], make, batch_size=1, num_beams=beams, max_new_tokens=6)[0]
        for task, one in zip(TASKS, EXAMPLES, strict=True)
    ]
    swapped = generate(net, ["b", "a", "a", "b"], EXAMPLES, make, batch_size=4, num_beams=beams, max_new_tokens=6)
    assert mixed == alone
    assert all(one != other for one, other in zip(mixed, swapped, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_text_is_the_likeliest_next_token_each_time(kind: str) -> None:
    net, make, example = shared(kind), collator(kind), EXAMPLES[0]
    inputs, written = make.for_generation([example]), list[int]()
    with torch.no_grad():
        for _ in range(5):
            if kind == "decoder-only":
                ids = torch.cat([inputs["input_ids"], torch.tensor([written], dtype=torch.long)], 1)
                logits = net(input_ids=ids, task="b").logits
            else:
                logits = net(**inputs, decoder_input_ids=torch.tensor([[0, *written]]), task="b").logits
            written.append(int(logits[0, -1].argmax()))
            if written[-1] == 1:
                break
    expected = make.tokenizer.decode(written, skip_special_tokens=True).strip()
    assert generate(net, "b", [example], make, batch_size=1, max_new_tokens=5) == [expected]


@pytest.mark.parametrize(
    ("task", "examples", "settings", "batch_size", "message"),
    [
        ("a", EXAMPLES, {}, 2, r"must have choices to be ranked, found none at \[1\]"),
        ("a", RANKED, {"with_choices": False}, 2, "with_choices=True"),
        ("a", [], {}, 2, "examples must not be empty"),
        ("a", RANKED, {}, 0, "batch_size must be at least 1, found 0"),
        (["a"], RANKED, {}, 2, "3 examples, found 1 names"),
    ],
)
def test_what_cannot_be_ranked_is_refused(
    task: str | list[str], examples: list[Example], settings: dict[str, bool], batch_size: int, message: str
) -> None:
    make = collator("encoder-decoder", **settings)
    with pytest.raises(ValueError, match=message):
        rank_classify(shared("encoder-decoder"), task, examples, make, batch_size=batch_size)


@pytest.mark.parametrize(
    ("guess", "true", "plain", "normalised"),
    [
        ("cat", " cat\n", True, True),
        ("The  Cat!", "cat", False, True),
        ("theme", "me", False, False),  # "the" only as a word
        ("An apple a day", "apple day", False, True),
        ("cat", "cats", False, False),
        ("Straße", "STRASSE", False, True),
    ],
)
def test_exact_match(guess: str, true: str, plain: bool, normalised: bool) -> None:
    assert exact_match([guess], [true]) == plain
    assert exact_match([guess], [true], normalised=True) == normalised


@pytest.mark.parametrize(("guesses", "targets"), [([], []), (["a"], []), (["a"], ["a", "b"])])
def test_exact_match_needs_pairs(guesses: list[str], targets: list[str]) -> None:
    with pytest.raises(ValueError, match=f"found {len(guesses)} and {len(targets)}"):
        exact_match(guesses, targets)
