"""What a pass leaves for the next one is of its tasks: no other task goes on from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    DynamicCache,
    GPT2Config,
    GPT2LMHeadModel,
    MambaConfig,
    MambaForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

import taskfold as tfold


class Cell(nn.Module):
    """A recurrent network whose state lies in some container."""

    def __init__(self, wrapped: Callable[[Tensor], Any], opened: Callable[[Any], Tensor]) -> None:
        super().__init__()
        self.layer, self.wrapped, self.opened = nn.Linear(4, 4), wrapped, opened

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        before = x if state is None else x + self.opened(state)
        after = self.layer(before).tanh()
        return after * 2, self.wrapped(after)


class Held:
    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


CONTAINERS: dict[str, tuple[Callable[[Tensor], Any], Callable[[Any], Tensor]]] = {
    "tensor": (lambda h: h, lambda state: state),
    "pair": (lambda h: (h, h + 1), lambda state: state[0]),
    "dict": (lambda h: {"h": h}, lambda state: state["h"]),
    "layers": (lambda h: [(h, h)], lambda state: state[0][1]),
}
X = torch.randn(2, 4, generator=torch.Generator().manual_seed(0))


def tuned(network: nn.Module, **settings: Any) -> tfold.MultiTask:
    torch.manual_seed(0)
    model = tfold.MultiTask(network.eval(), tfold.LoRA(rank=2, init="normal", **settings)).eval()
    for name in "ab":
        model.add_task(name)
    return model


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("way", ["by name", "by place"])
def test_a_state_is_of_the_task_that_left_it(container: str, way: str) -> None:
    model = tuned(Cell(*CONTAINERS[container]), layers="linear")

    def again(state: Any, task: str) -> Any:
        return model(X, state, task=task) if way == "by place" else model(X, state=state, task=task)

    _, state = model(X, task="a")
    assert (again(state, "a")[0] - model(X, task="a")[0]).abs().max() > 0.01
    with pytest.raises(ValueError, match="state holds what task 'a' made so far, and task 'b' is to go on"):
        again(state, "b")


def test_a_state_without_a_writer_is_anybodys() -> None:
    model = tuned(Cell(*CONTAINERS["tensor"]), layers="linear")
    start = torch.zeros(2, 4)
    for task in "ab":
        model(X, start, task=task)
    _, state = model(X, task="a")
    model(X, state.clone(), task="b")  # said by a copy


def test_rows_of_a_state_are_of_their_tasks() -> None:
    model = tuned(Cell(*CONTAINERS["tensor"]), layers="linear")
    _, state = model(X, task=["a", "b"])
    model(X, state, task=["a", "b"])
    with pytest.raises(ValueError, match="state holds what tasks 'a', 'b' made so far"):
        model(X, state, task=["b", "a"])


def gpt2() -> tfold.MultiTask:
    torch.manual_seed(0)
    sizes = {"vocab_size": 30, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32}
    ends = {"bos_token_id": 0, "eos_token_id": 0}
    return tuned(GPT2LMHeadModel(GPT2Config(**sizes, **ends)), targets=("*attn*",))  # type: ignore[arg-type]


IDS = torch.arange(10).view(2, 5)


@pytest.mark.parametrize("served", ["model", "bank"])
@torch.no_grad()
def test_caches_of_a_broadcast_are_each_tasks_own(served: str) -> None:
    model = gpt2()
    answers: Any = model if served == "model" else model.bank()
    caches = {name: one.past_key_values for name, one in answers(IDS, task=["a", "b"], broadcast=True).items()}
    with pytest.raises(ValueError, match="past_key_values holds what task 'a' made so far, and task 'b' is to go on"):
        model(IDS[:, :1], past_key_values=caches["a"], task="b")
    more = model(IDS[:, :1], past_key_values=caches["b"], task="b").logits
    whole = model(torch.cat([IDS, IDS[:, :1]], 1), task="b").logits[:, -1:]
    torch.testing.assert_close(more, whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize("served", ["model", "bank"])
@torch.no_grad()
def test_no_broadcast_goes_on_from_a_cache_of_one_task(served: str) -> None:
    model = gpt2()
    answers: Any = model if served == "model" else model.bank()
    cache = DynamicCache()
    model(IDS, cache, task="a")  # by place
    with pytest.raises(ValueError, match="what task 'a' made so far, and task 'b' is to go on"):
        answers(IDS[:, :1], past_key_values=cache, task=["a", "b"], broadcast=True)
    with pytest.raises(ValueError, match="what task 'a' made so far, and task 'b' is to go on"):
        model(IDS[:, :1], cache, task="b")


def test_an_object_of_the_users_own_is_marked_too() -> None:
    model = tuned(Cell(Held, lambda state: state.tensor), layers="linear")
    _, state = model(X, task="a")
    with pytest.raises(ValueError, match="state holds what task 'a' made so far"):
        model(X, state, task="b")
    del state.tensor
    with pytest.raises(AttributeError):  # an empty one is the network's to judge
        model(X, state, task="b")


PARTS: dict[str, Callable[[Tensor], Tensor]] = {"detached": Tensor.detach, "slice": lambda state: state[:, :3]}


@pytest.mark.parametrize("part", PARTS)
def test_a_part_of_a_state_is_of_its_task(part: str) -> None:
    model = tuned(Cell(lambda h: h, lambda state: nn.functional.pad(state, (0, 4 - state.shape[1]))), layers="linear")
    _, state = model(X, task="a")
    model(X, PARTS[part](state), task="a")
    with pytest.raises(ValueError, match="state holds what task 'a' made so far, and task 'b' is to go on"):
        model(X, PARTS[part](state), task="b")
    _, both = model(X, task=["a", "b"])
    model(X[:1], both[:1], task="a")


@torch.no_grad()
def test_a_state_without_positions_is_refused_by_name_and_may_be_empty() -> None:
    torch.manual_seed(0)
    sizes = {"vocab_size": 30, "hidden_size": 16, "num_hidden_layers": 2, "state_size": 4}
    model = tuned(MambaForCausalLM(MambaConfig(**sizes)), layers="linear")  # type: ignore[arg-type]
    cache = model(IDS, task="a", use_cache=True).cache_params
    with pytest.raises(ValueError, match="cache_params holds what task 'a' made so far, and task 'b' is to go on"):
        model(IDS[:, :1], cache_params=cache, task="b")
    if not hasattr(cache, "has_previous_state"):
        return  # transformers before 5 has objects of another class, which do not say that they are empty
    cache.reset()
    torch.testing.assert_close(model(IDS, cache_params=cache, task="b").logits, model(IDS, task="b").logits)


@torch.no_grad()
def test_what_an_encoder_has_put_out_is_of_its_task() -> None:
    torch.manual_seed(0)
    sizes = {"vocab_size": 30, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}
    model = tuned(T5ForConditionalGeneration(T5Config(**sizes)), layers="linear")  # type: ignore[arg-type]
    outputs = (model(IDS, decoder_input_ids=IDS, task="a").encoder_last_hidden_state,)
    model(encoder_outputs=outputs, decoder_input_ids=IDS, task="a")
    given = model.backbone.get_encoder()(IDS)  # type: ignore[operator]
    both = model(encoder_outputs=given, decoder_input_ids=IDS, task=["a", "b"], broadcast=True)
    alone = model(encoder_outputs=given, decoder_input_ids=IDS, task="b")
    torch.testing.assert_close(both["b"].logits, alone.logits)
    with pytest.raises(ValueError, match="encoder_outputs holds what task 'a' made so far, and task 'b' is to go on"):
        model(encoder_outputs=outputs, decoder_input_ids=IDS, task="b")
