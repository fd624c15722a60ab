"""Predictions: the likeliest choice, or a generated text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from ..model import MultiTask
from ._batch import per_example
from ._collator import Collator
from ._example import Example
from ._scores import row_scores, token_scores


@dataclass(frozen=True)
class RankResult:
    """The results of rank classification.

    Attributes:
        accuracy: share of examples whose likeliest choice is the answer, in [0, 1].
        predictions: the likeliest choice of each example, an index into its choices.
        scores: Σ log p of each choice, per token if length-normalised, in the example's order.
    """

    accuracy: float
    predictions: tuple[int, ...]
    scores: tuple[tuple[float, ...], ...]


def rank_classify(
    model: nn.Module,
    task: str | Sequence[str],
    examples: Sequence[Example],
    collator: Collator,
    *,
    batch_size: int,
    length_normalised: bool = True,
) -> RankResult:
    """Choose the likeliest answer of each example; the model's mode does not change.

    Args:
        model: a `MultiTask` without heads, whose output has `logits`.
        task: a name, or one per example.
        examples: examples with choices.
        collator: a collator with choices.
        batch_size: examples at a time; each has a row for each choice.
        length_normalised: compare choices per token.

    Raises:
        ValueError: an example has no choices, the collator leaves them out, or names and examples differ in number.
    """
    if bare := [n for n, example in enumerate(examples) if not example.choices]:
        raise ValueError(f"examples must have choices to be ranked, found none at {bare[:5]}; use generate for those")
    if not collator.with_choices:
        raise ValueError("collator must have with_choices=True to rank choices, found False")
    found: list[tuple[float, ...]] = []
    parts = _parts(task, examples, batch_size)
    with _evaluating(model):
        for names, some in parts:
            batch = collator(some).to(_device(model))
            tokens = token_scores(model, batch, names)
            rows = row_scores(tokens, tokens.log_probabilities(), length_normalised).split(list(batch.counts))
            for example, values in zip(some, rows, strict=True):
                by_text = dict(zip(collator.answers(example), values.tolist(), strict=True))
                found.append(tuple(by_text[choice] for choice in example.choices))
    predictions = tuple(max(range(len(scores)), key=scores.__getitem__) for scores in found)
    right = [guess == example.answer for guess, example in zip(predictions, examples, strict=True)]
    return RankResult(sum(right) / len(right), predictions, tuple(found))


def generate(
    model: MultiTask,
    task: str | Sequence[str],
    examples: Sequence[Example],
    collator: Collator,
    *,
    batch_size: int,
    num_beams: int = 1,
    max_new_tokens: int = 64,
) -> list[str]:
    """The text that the network generates for each input, decoded and stripped, without sampling; its mode stays.

    Args:
        model: a `MultiTask` without heads on a network of transformers.
        task: a name, or one per example.
        examples: their targets are ignored.
        collator: for the same network.
        batch_size: examples at a time.
        num_beams: ≥ 1; 1 is greedy decoding.
        max_new_tokens: the most tokens of a text.

    Raises:
        ValueError: there are no examples, or names and examples differ in number.
    """
    tokenizer, texts = collator.tokenizer, list[str]()
    settings = {"num_beams": num_beams, "max_new_tokens": max_new_tokens, "do_sample": False}
    settings |= {"pad_token_id": collator.pad, "eos_token_id": tokenizer.eos_token_id}
    if not collator.causal:
        settings["decoder_start_token_id"] = collator.start_token
    parts = _parts(task, examples, batch_size)
    with _evaluating(model):
        for names, some in parts:
            inputs = {name: tensor.to(_device(model)) for name, tensor in collator.for_generation(some).items()}
            written = model.generate(**inputs, task=names, **settings)
            known = inputs["input_ids"].shape[1] if collator.causal else 1
            decoded = tokenizer.batch_decode(written[:, known:], skip_special_tokens=True)
            texts += [text.strip() for text in decoded]
    return texts


def _parts(
    task: str | Sequence[str], examples: Sequence[Example], size: int
) -> list[tuple[list[str], Sequence[Example]]]:
    if not examples:
        raise ValueError("examples must not be empty")
    if size < 1:
        raise ValueError(f"batch_size must be at least 1, found {size}")
    names = per_example(task, len(examples))
    return [(names[at : at + size], examples[at : at + size]) for at in range(0, len(examples), size)]


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    before = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(before)


def _device(model: nn.Module) -> torch.device:
    return next((tensor.device for tensor in model.parameters()), torch.device("cpu"))
