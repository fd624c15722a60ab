"""A sample of the zoo: networks with rows in places of all kinds; `make zoo` runs the whole."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import taskfold as tfold

from .catalogue import entries
from .entry import Entry, numbers
from .laws import LAWS, tried
from .page import HOLDS, kind_of, page
from .subject import METHODS, Zoo
from .trial import tried_on

# network: (methods, how mixed batches of the first one run)
SAMPLE = {
    "timm/mobilenetv3_small_050": (("FTN",), "in one pass"),
    "timm/vit_tiny_patch16_224": (("LoRA",), "in one pass"),
    "timm/swin_tiny_patch4_window7_224": (("LoRA",), "in one pass"),
    "torchvision/MaxVit": (("FTN",), "in one pass"),
    "transformers/BertModel": (("LoRA", "fine-tuning"), "in one pass"),
    "transformers/GPT2Model": (("LoRA",), "in one pass"),
    "transformers/T5Model": (("LoRA", "own norm"), "in one pass"),
    "transformers/MixtralModel": (("LoRA",), "task by task"),
    "transformers/MambaModel": (("LoRA",), "task by task"),
    "transformers/Wav2Vec2Model": (("own norm",), "in one pass"),
    "transformers/DetrModel": (("LoRA",), "in one pass"),
    "transformers/FSMTModel": (("LoRA",), "in one pass"),
    "transformers/LlavaModel": (("LoRA",), "task by task"),
    "transformers/CLIPModel": (("LoRA",), "refused"),
}


WHOLE = (
    *("timm/mobilenetv3_small_050", "torchvision/MaxVit", "transformers/BertModel"),
    *("transformers/FSMTModel", "transformers/LlavaModel", "transformers/Wav2Vec2Model"),
)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=(pytest.mark.whole,) if name in WHOLE else ()) for name in SAMPLE]
)
def test_sample(name: str) -> None:
    methods, how = SAMPLE[name]
    entry = next(one for one in entries() if one.name == name)
    result = tried_on(entry, methods)
    assert "methods" in result, result
    for method in methods:
        laws = result["methods"][method]
        assert set(laws) - {"without"} == set(LAWS), laws
        may = (*HOLDS, how)
        assert not {law: laws[law] for law in LAWS if kind_of(laws[law]) not in may}
    assert kind_of(result["methods"][methods[0]]["mixed"]) == how
    assert f"`{name}`" in page([result])


class Mean(nn.Module):
    """A row's answer has something of all rows."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.second(torch.tanh(self.first(x)))
        return y + y.mean(0)


def test_laws_see_refusals() -> None:
    entry = Entry("mean", "toy", Mean, numbers(6))
    found = tried(Zoo(entry, METHODS["LoRA"], entry.build(), torch.float32))
    assert found["mixed"].startswith("refused: Mean can't answer a mixed batch")
    assert found["fold"] == found["training"] == "holds"


def test_laws_see_wrong_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that answers every row with the first one's task, and a fold of another task."""
    entry = Entry("mean", "toy", lambda: nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 8)), numbers(6))
    zoo = Zoo(entry, METHODS["LoRA"], entry.build(), torch.float32)
    ask, fold = Zoo.ask, tfold.MultiTask.fold

    def wrong(self: Zoo, model: object, seed: int, **more: object) -> object:
        task = more.get("task")
        return ask(self, model, seed, **more | {"task": task[0] if isinstance(task, list) else task})

    monkeypatch.setattr(Zoo, "ask", wrong)
    monkeypatch.setattr(tfold.MultiTask, "fold", lambda self, name: fold(self, "b"))
    found = tried(zoo)
    assert found["mixed"].startswith("fault: row 1 of the batch 'baab'")
    assert found["fold"].startswith("fault: the fold")


def test_tasks_that_can_not_be_told_apart_show_nothing() -> None:
    class Deaf(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 0 * self.layer(x)

    entry = Entry("deaf", "toy", Deaf, numbers(6))
    found = tried(Zoo(entry, METHODS["LoRA"], entry.build(), torch.float32))
    assert {kind_of(how) for how in found.values()} == {"not shown"}


def test_the_catalogue() -> None:
    names = [entry.name for entry in entries()]
    assert len(names) >= 120
    assert len(set(names)) == len(names)
    assert set(SAMPLE) <= set(names)
