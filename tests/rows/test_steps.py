"""Later steps of texts are written under the decisions and the rows of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import taskfold as tfold

NAMES = list("abcd")
pytestmark = pytest.mark.filterwarnings("ignore:.*answers mixed batches task by task")


class Writer(nn.Module):
    """Writes words; subclasses say what becomes of the features of a step."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.layer, self.out = nn.Embedding(9, 8), nn.Linear(8, 8), nn.Linear(8, 9)

    def among(self, input_ids: Tensor, h: Tensor, past: Tensor | None) -> Tensor:
        return h

    def forward(self, input_ids: Tensor, past: Tensor | None = None, scale: float = 1.0) -> tuple[Tensor, Tensor]:
        h = self.layer(self.words(input_ids)).mean(1)
        h = h if past is None else h + past
        return self.out(self.among(input_ids, h, past).tanh()) * scale, h

    def generate(
        self, input_ids: Tensor, steps: int = 4, processor: Callable[[Tensor], Tensor] | None = None, draw: bool = False
    ) -> Tensor:
        text, words, past = [input_ids], input_ids, None
        for _step in range(steps):
            said, past = self(words, past=past)
            said = said if processor is None else processor(said)
            words = said.softmax(-1).multinomial(1) if draw else said.argmax(-1, keepdim=True)
            text.append(words)
        return torch.cat(text, 1)


class Special(Writer):
    """A word 3 that a row has just written turns all rows."""

    def among(self, input_ids: Tensor, h: Tensor, past: Tensor | None) -> Tensor:
        return h if past is None or not (input_ids == 3).any() else -2 * h


class Mixing(Writer):
    """Compares the rows of later steps."""

    def among(self, input_ids: Tensor, h: Tensor, past: Tensor | None) -> Tensor:
        return h if past is None else h - 2 * h.mean(0)


class Loud(Writer):
    """Numbers of a layer decide in later steps."""

    def among(self, input_ids: Tensor, h: Tensor, past: Tensor | None) -> Tensor:
        return -h if past is not None and h.max() > 1.5 else h


class Ordered(Writer):
    """Turns the rows round before a layer of later steps, and back behind it."""

    def among(self, input_ids: Tensor, h: Tensor, past: Tensor | None) -> Tensor:
        return h if past is None else self.layer(h.flip(0)).flip(0)


class Flat(Writer):
    """Its layer sees words and not texts: fewer in a later step than in the first."""

    def forward(self, input_ids: Tensor, past: Tensor | None = None, scale: float = 1.0) -> tuple[Tensor, Tensor]:
        h = self.layer(self.words(input_ids).flatten(0, 1)).unflatten(0, input_ids.shape).mean(1)
        h = h if past is None else h + past
        return self.out(h.tanh()) * scale, h


class Expert(Writer):
    """Its layer sees the texts that end on an odd word."""

    def among(self, input_ids: Tensor, h: Tensor, past: Tensor | None) -> Tensor:
        mine = input_ids[:, -1] % 2 == 1
        return h.index_put((mine,), self.layer(h[mine]))


def built(net: nn.Module) -> tfold.MultiTask:
    model = tfold.MultiTask(net, tfold.LoRA(rank=2, layers="linear", init="normal")).eval()
    for name in NAMES:
        for parameter in model.add_task(name).parameters():
            parameter.data.add_(torch.randn_like(parameter))
    return model


def check_texts(model: tfold.MultiTask, run: Any, ids: Tensor) -> None:
    """Each row's text is the one that its task writes for it alone."""
    said = run.generate(ids, task=NAMES)
    for n, name in enumerate(NAMES):
        assert torch.equal(said[n : n + 1], model.generate(ids[n : n + 1], task=name))


@pytest.mark.parametrize("kind", [Writer, Special, Mixing, Loud, Ordered])
@torch.no_grad()
def test_each_text_is_its_task_s(kind: type[Writer]) -> None:
    for seed in range(4):
        torch.manual_seed(seed)
        model = built(kind())
        for run in (model, model.bank()):
            for _ in range(4):
                check_texts(model, run, torch.randint(0, 9, (4, 3)))


@pytest.mark.filterwarnings("error:.*answers mixed batches task by task")
@pytest.mark.parametrize("kind", [Writer, Flat])
@torch.no_grad()
def test_texts_take_one_pass_for_each_step(kind: type[Writer]) -> None:
    torch.manual_seed(0)
    model = built(kind())
    for run in (model, model.bank()):
        check_texts(model, run, torch.randint(0, 9, (4, 3)))


@torch.no_grad()
def test_experts_write_under_settings_that_a_pass_does_not_take() -> None:
    torch.manual_seed(0)
    model, ids = built(Expert()), torch.randint(0, 9, (4, 3))
    for run in (model, model.bank()):
        said = run.generate(ids, steps=3, task=NAMES)
        for n, name in enumerate(NAMES):
            assert torch.equal(said[n : n + 1], model.generate(ids[n : n + 1], steps=3, task=name))


@torch.no_grad()
def test_what_a_later_step_decides_turns_texts() -> None:
    """Floor: with the rows of both tasks in one pass, some text would be another."""
    others = 0
    for seed in range(4):
        torch.manual_seed(seed)
        model = built(Special())
        for _ in range(4):
            ids = torch.randint(0, 9, (4, 3))
            together = model.generate(ids, task="a")
            others += sum(
                not torch.equal(together[n : n + 1], model.generate(ids[n : n + 1], task="a")) for n in range(4)
            )
    assert others > 2


@torch.no_grad()
def test_a_text_that_begins_anew_draws_the_same_words() -> None:
    torch.manual_seed(0)
    model, ids = built(Special()), torch.randint(0, 9, (4, 3))
    texts = []
    for _ in range(3):
        torch.manual_seed(1)
        texts.append(model.generate(ids, task=NAMES, draw=True))
    assert torch.equal(texts[0], texts[2]) and torch.equal(texts[1], texts[2])


@torch.no_grad()
def test_texts_are_not_begun_anew_under_an_argument_that_remembers() -> None:
    torch.manual_seed(0)
    seen: list[Tensor] = []

    def remembers(said: Tensor) -> Tensor:
        seen.append(said)
        return said.roll(len(seen), 1)

    model = built(Special())
    texts = torch.stack([torch.randint(0, 9, (4, 3)) for _ in range(20)])
    with pytest.raises(ValueError, match=r"begun anew, and 'processor' may remember"):
        [model.generate(ids, task=NAMES, processor=remembers) for ids in texts]
