"""The contents of rows, cut texts, and padding without effect."""

from __future__ import annotations

import pickle

import pytest
import torch
from transformers import ByT5Tokenizer

from taskfold.text import Collator, Example, Objective, TextBatch, generate, rank_classify

from .networks import EXAMPLES, KINDS, TASKS, collator, shared, tokenizer

ANSWER = Example("ab", "yes", ("no", "yes"))


def ids(text: str) -> list[int]:
    return [byte + 3 for byte in text.encode()]  # ByT5's rule


def test_rows_of_an_encoder_decoder() -> None:
    batch = collator("encoder-decoder")([ANSWER, Example("abcd", "d")])
    assert batch.inputs["input_ids"].tolist() == [[*ids("ab"), 1, 0, 0], [*ids("ab"), 1, 0, 0], [*ids("abcd"), 1]]
    assert batch.inputs["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    assert batch.labels.tolist() == [[*ids("yes"), 1], [*ids("no"), 1, -100], [*ids("d"), 1, -100, -100]]
    assert batch.inputs["decoder_input_ids"].tolist() == [[0, *ids("yes")], [0, *ids("no"), 0], [0, *ids("d"), 0, 0]]
    assert batch.example.tolist() == [0, 0, 1]
    assert batch.correct.tolist() == [True, False, True]
    assert batch.counts == (2, 1)
    assert len(batch) == 2


def test_rows_of_a_decoder_only_network() -> None:
    batch = collator("decoder-only")([ANSWER])
    assert batch.inputs["input_ids"].tolist() == [ids("ab yes"), [*ids("ab no"), 0]]
    assert batch.inputs["attention_mask"].tolist() == [[1] * 6, [1] * 5 + [0]]
    assert batch.labels.tolist() == [[-100, *ids(" yes"), 1], [-100, *ids(" no"), 1, -100]]


@pytest.mark.parametrize("kind", KINDS)
def test_labels_are_what_the_next_place_reads(kind: str) -> None:
    batch = collator(kind)(EXAMPLES)
    read = batch.inputs["input_ids" if kind == "decoder-only" else "decoder_input_ids"]
    both = (batch.labels[:, :-1] != -100) & (batch.labels[:, 1:] != -100)
    assert both.any()
    assert torch.equal(read[:, 1:][both], batch.labels[:, :-1][both])


@pytest.mark.parametrize(("cut", "kept"), [("end", "0123"), ("start", "6789")])
def test_truncation_keeps_the_special_tokens(cut: str, kept: str) -> None:
    example = Example("0123456789", "0123456789")
    batch = collator("encoder-decoder", max_input=5, max_target=4, cut=cut)([example])
    assert batch.inputs["input_ids"].tolist() == [[*ids(kept), 1]]
    assert batch.labels.tolist() == [[*ids("012"), 1]]
    causal = collator("decoder-only", max_input=4, max_target=4, cut=cut, separator="")([example])
    assert causal.inputs["input_ids"].tolist() == [ids(kept + "012")]
    assert causal.labels.tolist() == [[-100, -100, -100, *ids("012"), 1]]


@pytest.mark.parametrize("kind", KINDS)
def test_padding_never_changes_a_score(kind: str) -> None:
    net, make = shared(kind), collator(kind, max_input=24)
    losses = Objective()(net, make(EXAMPLES), TASKS)
    alone = torch.cat([Objective()(net, make([one]), [task]) for task, one in zip(TASKS, EXAMPLES, strict=True)])
    torch.testing.assert_close(losses, alone, rtol=1e-4, atol=1e-5)
    longer = collator(kind, max_input=24, pad_to_multiple_of=8)
    batch = longer(EXAMPLES)
    assert all(tensor.shape[1] % 8 == 0 for tensor in (batch.labels, *batch.inputs.values()))
    torch.testing.assert_close(Objective()(net, batch, TASKS), losses, rtol=1e-4, atol=1e-5)
    written, again = (generate(net, "a", EXAMPLES, one, batch_size=4, max_new_tokens=4) for one in (make, longer))
    assert written == again
    ranked = [example for example in EXAMPLES if example.choices]
    by_size = [rank_classify(net, "a", ranked, make, batch_size=size).scores for size in (1, 3)]
    for one, three in zip(*by_size, strict=True):
        assert one == pytest.approx(three, rel=1e-4, abs=1e-5)


def test_generation_is_padded_where_it_does_not_go_on() -> None:
    examples = [Example("ab", "x"), Example("abcd", "x")]
    left = collator("decoder-only").for_generation(examples)
    assert left["input_ids"].tolist() == [[0, 0, *ids("ab")], ids("abcd")]
    assert left["attention_mask"].tolist() == [[0, 0, 1, 1], [1] * 4]
    right = collator("encoder-decoder").for_generation(examples)
    assert right["input_ids"].tolist() == [[*ids("ab"), 1, 0, 0], [*ids("abcd"), 1]]


class Framed:
    """A tokenizer that begins with 7, and ends with the end token, as BART's and Llama's do."""

    eos_token_id, pad_token_id = 1, None

    def __init__(self, end: bool) -> None:
        self.after = [1] if end else []

    def __call__(self, texts: list[str], add_special_tokens: bool = True) -> dict[str, list[list[int]]]:
        before, after = ([7], self.after) if add_special_tokens else ([], [])
        return {"input_ids": [[*before, *ids(text), *after] for text in texts]}


@pytest.mark.parametrize("end", [True, False])
def test_a_beginning_that_the_tokenizer_sets_is_kept_and_its_end_is_not_read(end: bool) -> None:
    batch = Collator(Framed(end), causal=True, max_input=3, separator="")([Example("abcd", "x"), Example("", "xyz")])
    assert batch.inputs["input_ids"].tolist() == [[7, *ids("ab"), *ids("x")], [7, *ids("xyz")]]
    assert batch.labels.tolist() == [[-100, -100, *ids("x"), 1], [*ids("xyz"), 1]]


def test_another_start_token() -> None:
    batch = collator("encoder-decoder", start_token=5)([ANSWER])
    assert batch.inputs["decoder_input_ids"][:, 0].tolist() == [5, 5]


def test_without_choices_one_row_per_example() -> None:
    batch = collator("encoder-decoder", with_choices=False)(EXAMPLES)
    assert batch.counts == (1, 1, 1, 1)
    assert batch.correct.all()


def test_a_collator_and_its_batch_travel() -> None:
    make = pickle.loads(pickle.dumps(collator("decoder-only", max_input=9)))
    batch = make(EXAMPLES)
    assert torch.equal(batch.labels, collator("decoder-only", max_input=9)(EXAMPLES).labels)
    moved = batch.to("meta")
    assert isinstance(moved, TextBatch)
    tensors = [*moved.inputs.values(), moved.labels, moved.example, moved.correct]
    assert {tensor.device.type for tensor in tensors} == {"meta"}


class Changing(ByT5Tokenizer):
    def __call__(self, texts: list[str], add_special_tokens: bool = True) -> dict[str, list[list[int]]]:
        return {"input_ids": [[int(add_special_tokens)] for _ in texts]}


def lacking(token: str) -> ByT5Tokenizer:
    made = ByT5Tokenizer(extra_ids=0)
    setattr(made, token, None)
    return made


@pytest.mark.parametrize(
    ("made", "settings", "message"),
    [
        (tokenizer, {"max_input": 1}, "max_input must leave room beside the 1 special tokens, found 1"),
        (tokenizer, {"max_target": 1}, "max_target must be at least 2"),
        (tokenizer, {"pad_to_multiple_of": 0}, "pad_to_multiple_of must be at least 1, found 0"),
        (tokenizer, {"cut": "middle"}, "cut must be one of end, start, found 'middle'"),
        (lambda: lacking("eos_token"), {}, "eos_token_id=None"),
        (lambda: lacking("pad_token"), {}, "pad_token_id=None"),
        (lambda: Changing(extra_ids=0), {}, "must keep a text's tokens"),
    ],
)
def test_an_impossible_collator_is_refused(made, settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Collator(made(), causal=False, **settings)


@pytest.mark.parametrize(
    ("examples", "message"), [([], "examples must not be empty"), ([Example("", "x")], "input must not be empty")]
)
def test_what_cannot_be_read_is_refused(examples: list[Example], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        collator("decoder-only")(examples)
    with pytest.raises(ValueError, match=message):
        collator("decoder-only").for_generation(examples)
