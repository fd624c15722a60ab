"""On the device, a language model generates each task's text of the CPU, in any mixture."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

import taskfold as tfold

transformers = pytest.importorskip("transformers", reason="needs the extra text")

METHODS = {
    "lora": tfold.LoRA(rank=2, layers="linear", init="normal"),
    "poly": tfold.Poly(rank=2, skills=3, layers="linear", init="normal"),
}
ROWS = ["b", "a", "b", "c"]


def network() -> Any:
    """A random T5 of two layers, whose linear weights are large enough to write different words."""
    torch.manual_seed(0)
    special = {"eos_token_id": 1, "pad_token_id": 0, "decoder_start_token_id": 0}
    config = transformers.T5Config(
        vocab_size=64, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, dropout_rate=0.0, **special
    )
    made = transformers.T5ForConditionalGeneration(config)
    for module in made.modules():
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.normal_(module.weight, std=0.5)
    return made


def built(method: tfold.Method) -> tfold.MultiTask:
    model = tfold.MultiTask(network(), method)
    for name in "abc":
        model.add_task(name)
    with torch.no_grad():
        for parameter in (*model.tasks.parameters(), *model.inventory.parameters()):
            parameter.add_(torch.randn_like(parameter))
    return model.double().eval()


def written(call: Any, tokens: Tensor, **said: Any) -> list[list[int]]:
    """What greedy search writes, without the padding after its end."""
    found = call(tokens, **said, max_new_tokens=8, do_sample=False)
    return [[token for token in row if token] for row in found.tolist()]


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_generate(method: tfold.Method, device: torch.device) -> None:
    here, tokens = built(method), torch.randint(2, 64, (len(ROWS), 6), generator=torch.Generator().manual_seed(1))
    alone = {name: written(here.generate, tokens, task=name) for name in "abc"}
    expected = [alone[name][row] for row, name in enumerate(ROWS)]
    assert expected != alone["a"], "the tasks write different words"
    there, tokens = copy.deepcopy(here).to(device), tokens.to(device)
    assert written(there.generate, tokens, task="a") == alone["a"]
    assert written(there.generate, tokens, task=ROWS) == expected
    assert written(there.bank().generate, tokens, task=ROWS) == expected
