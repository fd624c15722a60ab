"""Adapted language models in use: generation, checkpointing, compilation, export."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    DynamicCache,
    GenerationConfig,
    LogitsProcessorList,
    MaxLengthCriteria,
    MinLengthLogitsProcessor,
    StoppingCriteriaList,
)
from transformers.generation.streamers import BaseStreamer

import taskfold as tfold

from .networks import KINDS, VOCABULARY, network

METHODS: dict[str, tfold.Method] = {
    "lora": tfold.LoRA(rank=2, layers="linear", init="normal"),
    "lora-shared": tfold.LoRA(rank=2, layers="linear", init="normal", sharing="shared"),
    "tlora": tfold.TLoRA(rank=2, tensor_rank=2, order=2, init="normal"),
    "poly": tfold.Poly(rank=2, skills=4, init="normal"),
    "mhr": tfold.MHR(rank=2, skills=4, splits=2, init="normal"),
    "tensorpoly-i": tfold.TensorPolyI(rank=4, tensor_rank=2, order=2, init="normal"),
    "tensorpoly-ii": tfold.TensorPolyII(rank=4, tensor_rank=2, order=2, init="normal"),
}
DRAWN: dict[str, tfold.Method] = {  # draw numbers in training
    "poly-bernoulli": tfold.Poly(rank=2, skills=4, init="normal", allocation="bernoulli"),
    "poly-random": tfold.Poly(rank=2, skills=4, init="normal", allocation="random"),
    "tensorpoly-i-bernoulli": tfold.TensorPolyI(rank=4, tensor_rank=2, init="normal", allocation="bernoulli"),
}
SAMPLE = {
    "encoder-decoder": ("lora-shared", "poly-bernoulli", "tensorpoly-i/beams", "tensorpoly-i/greedy-without-cache"),
    "decoder-only": ("lora", "lora/beams", "lora-shared/beams", "tensorpoly-i-bernoulli", "tensorpoly-i/beams"),
}
"""In every run of the suite; the others differ from these in factors and rules, which have laws of their own."""
TASKS = ["a", "c", "a", "b", "c"]
DECODING = {
    "greedy": {},
    "beams": {"num_beams": 3},
    "greedy-without-cache": {"use_cache": False},
    "beams-without-cache": {"num_beams": 3, "use_cache": False},
}


def model(kind: str, method: str) -> tfold.MultiTask:
    """Three tasks that change the network by much; where factors are shared, their routing tells them apart."""
    made = tfold.MultiTask(network(kind), (METHODS | DRAWN)[method])
    for name in "abc":
        made.add_task(name)
    torch.manual_seed(1)
    for path, parameter in [*made.tasks.named_parameters(), *made.inventory.named_parameters()]:
        nn.init.normal_(parameter, std=3 if "routing" in path else 0.7)
    return made.eval()


def inputs(kind: str) -> dict[str, Tensor]:
    """Rows of one text and of different lengths, padded on the side that the kind of model needs."""
    torch.manual_seed(5)
    ids = torch.randint(3, VOCABULARY, (1, 7)).repeat(len(TASKS), 1)
    mask = torch.ones_like(ids)
    for row, length in ((1, 4), (4, 5)):
        padding = slice(length, None) if kind == "encoder-decoder" else slice(0, 7 - length)
        ids[row, padding] = mask[row, padding] = 0
    return {"input_ids": ids, "attention_mask": mask}


def labels(kind: str, given: Mapping[str, Tensor]) -> Tensor:
    if kind == "encoder-decoder":
        return torch.arange(3, 3 + 4 * len(TASKS)).reshape(len(TASKS), 4)
    return given["input_ids"].masked_fill(given["attention_mask"] == 0, -100)


def sampled(*values: str) -> object:
    """The values of a test, of which every run has those that are named in `SAMPLE`."""
    kind, *rest = values
    return pytest.param(*values, marks=() if "/".join(rest) in SAMPLE[kind] else (pytest.mark.whole,))


@pytest.mark.parametrize(
    ("kind", "method", "decoding"),
    [
        sampled(kind, method, how)
        for kind in KINDS
        for method in METHODS
        for how in (DECODING if method == "tensorpoly-i" else ("beams",))
    ],
)
def test_a_mixed_batch_generates_what_each_folded_task_does(kind: str, method: str, decoding: str) -> None:
    made, given = model(kind, method), inputs(kind)
    settings = {"min_new_tokens": 4, "max_new_tokens": 4, "do_sample": False, **DECODING[decoding]}
    found = made.generate(**given, task=TASKS, **settings)
    expected = torch.empty_like(found)
    for name in "abc":
        rows = [row for row, task in enumerate(TASKS) if task == name]
        mine = {key: tensor[rows] for key, tensor in given.items()}
        expected[rows] = made.fold(name).generate(**mine, **settings)
    assert torch.equal(found, expected)
    assert torch.equal(made.bank().generate(**given, task=TASKS, **settings), expected)
    if method != "lora-shared":
        assert not torch.equal(found[0], found[3])  # one text, two tasks


def test_a_view_generates_in_its_own_mode() -> None:
    made, given = model("decoder-only", "lora").train(), inputs("decoder-only")
    view, settings = made.for_task("b").eval(), {"min_new_tokens": 4, "max_new_tokens": 4, "do_sample": False}
    assert torch.equal(view.generate(**given, **settings), made.eval().generate(**given, task="b", **settings))
    made.remove_task("b")
    with pytest.raises(RuntimeError, match="the task 'b' of this view has been removed"):
        view.generate(**given, **settings)


def test_a_plain_network_assists() -> None:
    made, given = model("decoder-only", "lora"), inputs("decoder-only")
    one = {name: tensor[:1] for name, tensor in given.items()}
    settings = {"min_new_tokens": 4, "max_new_tokens": 4, "do_sample": False}
    for helper in (made.for_task("b"), made, made.bank()):
        with pytest.raises(TypeError, match=r"assistant_model is a .*; give model.fold\(name\)"):
            made.generate(**one, task="a", assistant_model=helper, **settings)
    found = made.generate(**one, task="a", assistant_model=made.fold("b"), **settings)
    assert torch.equal(found, made.fold("a").generate(**one, **settings))


@pytest.mark.filterwarnings("ignore:task '.' adapts 1 layers that this forward pass never called")  # the common table
@pytest.mark.parametrize("length", [4, 5, 8])
def test_tasks_with_tables_of_positions_run_one_by_one(length: int) -> None:
    """T5's is `[L, L]`, whatever the batch: in a mixed one it would be taken for rows where L is a multiple of them."""
    net: Any = network("encoder-decoder")
    for part in (net.encoder, net.decoder):  # before transformers 5 one module stands in three places
        part.embed_tokens = copy.deepcopy(part.embed_tokens)
    made = tfold.MultiTask(net, tfold.FineTuning())
    for name in "ab":
        for parameter in made.add_task(name).parameters():
            parameter.data.add_(0.1 * torch.randn_like(parameter))
    ids = torch.randint(3, VOCABULARY, (4, length))
    given = {"input_ids": ids, "decoder_input_ids": ids, "use_cache": False}
    with pytest.warns(UserWarning, match="task by task.*relative_attention_bias' is given a tensor that serves all"):
        mixed = made.eval()(**given, task=list("abba")).logits
    for n, name in enumerate("abba"):
        torch.testing.assert_close(mixed[n], made(**given, task=name).logits[n])


@pytest.mark.parametrize(("kind", "method"), [sampled(kind, method) for kind in KINDS for method in METHODS | DRAWN])
def test_gradients_are_the_same_with_checkpointing(kind: str, method: str) -> None:
    plain, contexts = gradients(kind, method, checkpointing=False)
    recomputed, counted = gradients(kind, method, checkpointing=True)
    assert contexts == 0
    assert counted
    assert counted % 2 == 0  # one for each of two blocks, in the passes of a look too
    assert plain.keys() == recomputed.keys()
    assert any(gradient.abs().max() > 0 for gradient in plain.values())
    for name, gradient in plain.items():
        error = (recomputed[name] - gradient).abs().max() / gradient.abs().max().clamp(min=1e-12)
        assert error < 1e-4, name  # T5 normalises in single precision


def gradients(kind: str, method: str, *, checkpointing: bool) -> tuple[dict[str, Tensor], int]:
    """The gradients of a mixed batch, and how many times Hugging Face asked for our context."""
    made, given, contexts = model(kind, method).double().train(), inputs(kind), []

    def context() -> object:
        contexts.append(tfold.checkpoint_context())
        return contexts[-1]

    if checkpointing:
        checkpoint(made.backbone, {"use_reentrant": False, "context_fn": context})
    with torch.no_grad():  # the first batch of a form runs several times
        made(**given, labels=labels(kind, given), task=TASKS, use_cache=False)
    contexts.clear()
    torch.manual_seed(3)
    made(**given, labels=labels(kind, given), task=TASKS, use_cache=False).loss.backward()
    found = {name: parameter.grad for name, parameter in made.named_parameters()}
    return {name: gradient for name, gradient in found.items() if gradient is not None}, len(contexts)


def checkpoint(network: nn.Module, settings: dict[str, object]) -> None:
    """Hugging Face's switch, by its name since version 5 or the one before."""
    name = "activation_checkpointing_enable" if hasattr(network, "activation_checkpointing_enable") else ""
    getattr(network, name or "gradient_checkpointing_enable")(settings)


def test_a_layer_that_is_recomputed_without_our_context_says_so() -> None:
    made, given = model("decoder-only", "lora").train(), inputs("decoder-only")
    checkpoint(made.backbone, {"use_reentrant": False})
    loss = made(**given, labels=given["input_ids"], task=TASKS, use_cache=False).loss
    with pytest.raises(RuntimeError, match=r"context_fn=taskfold\.checkpoint_context"):
        loss.backward()


def test_no_task_goes_on_from_another_s_cache() -> None:
    made, given = model("decoder-only", "lora"), inputs("decoder-only")
    ids = given["input_ids"][:1, -4:]
    whole = made(input_ids=ids, task="b", use_cache=False).logits[:, -1]
    begun = made(input_ids=ids[:, :-1], task="a").past_key_values
    for asked in ("b", ["b"]):
        with pytest.raises(ValueError, match=r"past_key_values holds what task 'a' made .*, and task 'b' is to go on"):
            made(input_ids=ids[:, -1:], task=asked, past_key_values=begun)
    mine = made(input_ids=ids[:, :-1], task="b").past_key_values
    torch.testing.assert_close(made(input_ids=ids[:, -1:], task="b", past_key_values=mine).logits[:, -1], whole)
    made(input_ids=ids, task="a", past_key_values=DynamicCache())  # an empty one is anybody's


def test_no_text_goes_on_from_another_task_s() -> None:
    made, given = model("decoder-only", "lora"), inputs("decoder-only")
    ids = given["input_ids"][[0, 0], -4:]
    settings = {"max_new_tokens": 1, "return_dict_in_generate": True, "do_sample": False}
    for asked in (made, made.bank()):
        begun = asked.generate(input_ids=ids, task=["a", "b"], **settings)
        told = {"input_ids": torch.cat([begun.sequences, ids[:, :1]], 1), "past_key_values": begun.past_key_values}
        with pytest.raises(ValueError, match=r"holds what tasks 'a', 'b' made .*, and tasks 'b', 'a' is to go on"):
            asked.generate(**told, task=["b", "a"], **settings)
        asked.generate(**told, task=["a", "b"], **settings)


def separate(kind: str) -> tuple[tfold.MultiTask, dict[str, Tensor]]:
    made = model(kind, "lora")
    made.rows = "separate"
    return made, inputs(kind)


SHORT: dict[str, Any] = {"min_new_tokens": 2, "max_new_tokens": 4, "do_sample": False}


@pytest.mark.parametrize("given", ["prefix_allowed_tokens_fn", "logits_processor", "stopping_criteria", "streamer"])
def test_what_sees_rows_by_their_places(given: str) -> None:
    """Of tasks one by one it would count the rows of each anew: a text would keep to what another row may say."""
    made, texts = separate("decoder-only")
    words = [[20 * row + n for n in range(3, 9)] for row in range(len(TASKS))]
    placed = {
        "prefix_allowed_tokens_fn": lambda row, _: words[row],
        "logits_processor": LogitsProcessorList([MinLengthLogitsProcessor(2, 1)]),
        "stopping_criteria": StoppingCriteriaList([MaxLengthCriteria(9)]),
        "streamer": BaseStreamer(),
    }[given]
    with pytest.raises(ValueError, match=f"task by task, and {given} would see the rows of each task alone"):
        made.generate(**texts, task=TASKS, **{given: placed}, **SHORT)
    if given == "prefix_allowed_tokens_fn":
        made.rows = "checked"
        found = made.generate(**texts, task=TASKS, **{given: placed}, **SHORT)[:, 7:]
        for row, mine in enumerate(found.tolist()):
            assert set(mine) <= set(words[row])


@pytest.mark.parametrize("place", ["named", "positional"])
def test_a_setting_that_is_as_long_as_the_batch_is_no_setting_of_rows(place: str) -> None:
    made, texts = separate("encoder-decoder")
    wanted = {name: made.generate(**texts, task=name, **SHORT) for name in "abc"}
    ends = torch.tensor([int(wanted[name][row, 3]) for row, name in enumerate(TASKS)])  # each row ends by its own
    given: dict[str, Any] = {"eos_token_id": ends.flip(0), **SHORT}
    wanted = {name: made.generate(**texts, task=name, pad_token_id=0, **given) for name in "abc"}
    if place == "named":
        found = made.generate(**texts, task=TASKS, pad_token_id=0, **given)
    else:
        settings = GenerationConfig(pad_token_id=0, decoder_start_token_id=0, **given)
        found = made.generate(texts["input_ids"], settings, attention_mask=texts["attention_mask"], task=TASKS)
    for row, name in enumerate(TASKS):
        text, length = wanted[name][row], found.shape[1]
        assert torch.equal(found[row, : len(text)], text[:length])  # as long as the longest of their batch
        assert not (text[length:].any() or found[row, len(text) :].any())
