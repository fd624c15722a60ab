"""Texts are written under the decisions that their own prompts make."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import taskfold as tfold

NAMES = list("abba")


class Writer(nn.Module):
    """Writes two words; subclasses decide by the words of all rows."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.layer, self.out = nn.Embedding(9, 8), nn.Linear(8, 8), nn.Linear(8, 9)

    def among(self, input_ids: Tensor, h: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.out(self.layer(self.among(input_ids, self.words(input_ids))).tanh())

    def generate(self, input_ids: Tensor, **_: Any) -> Tensor:
        for _step in range(2):
            input_ids = torch.cat([input_ids, 1 + self(input_ids)[:, -1:, 1:].argmax(-1)], 1)
        return input_ids


class Padded(Writer):
    """Rows mix where the batch holds a word 0."""

    def among(self, input_ids: Tensor, h: Tensor) -> Tensor:
        return h - 2 * h.mean(0) if (input_ids == 0).any() else h


class Whole(Writer):
    """Scales every row if all words are there."""

    def among(self, input_ids: Tensor, h: Tensor) -> Tensor:
        return h if (input_ids > 0).all() else -3 * h


def built(net: nn.Module) -> tfold.MultiTask:
    model = tfold.MultiTask(net, tfold.LoRA(rank=2, layers="linear", init="normal")).eval()
    for name in "ab":
        for parameter in model.add_task(name).parameters():
            parameter.data.add_(torch.randn_like(parameter))
    return model


def prompts(*padded: int) -> Tensor:
    ids = torch.arange(12).reshape(4, 3) % 8 + 1
    ids[[*padded], 0] = 0
    return ids


@torch.no_grad()
def test_prompts_that_decide_otherwise_are_looked_at_by_themselves() -> None:
    torch.manual_seed(0)
    model = built(Padded())
    for run in (model, model.bank()):
        run.generate(prompts(), task=NAMES)
        with pytest.raises(ValueError, match=r"can't answer a mixed batch .* run one task at a time"):
            run.generate(prompts(0, 1), task=NAMES)
        run.generate(prompts(), task=NAMES)


@pytest.mark.filterwarnings("ignore:.*answers mixed batches task by task")
@torch.no_grad()
def test_a_prompt_that_by_itself_decides_otherwise_is_written_with_its_task_s_own() -> None:
    torch.manual_seed(0)
    model = built(Whole())
    for run in (model, model.bank()):
        for ids in (prompts(), prompts(0, 1, 2, 3), prompts(0, 3), prompts(1, 2), prompts(0, 1, 2, 3)):
            said = run.generate(ids, task=NAMES)
            for name in "ab":
                mine = [n for n, one in enumerate(NAMES) if one == name]
                assert torch.equal(said[mine], model.generate(ids[mine], task=name))
