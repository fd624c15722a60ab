"""The report of what a task adapts: a table, a short name, warnings if it is little; wrong settings are refused."""

from __future__ import annotations

import json
import warnings
from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import taskfold as tfold
from taskfold import AdaptationWarning, MultiTask
from taskfold.model import _advice


class Recurrent(nn.Module):
    """Nearly all of it is an LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(8, 16)
        self.out = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.rnn(x)[0])


def small() -> nn.Module:
    parts = {"stem": nn.Conv2d(3, 4, 3), "body": nn.Conv2d(4, 4, 3), "norm": nn.BatchNorm2d(4), "last": nn.Linear(4, 4)}
    return nn.Sequential(OrderedDict(parts))


def test_a_summary_says_what_is_adapted_and_why_the_rest_is_not() -> None:
    model = MultiTask(small(), tfold.FTN(rank=1), num_features=4)
    model.add_task("a", head=2)
    found = model.summary("a")
    rows = {row.block: row for row in found.rows}
    assert [*rows] == ["stem", "body", "norm", "last"]
    assert (rows["body"].adapted, rows["norm"].adapted) == ("beside", "change")
    assert rows["stem"].why == "first convolution (stem=False)"
    assert rows["last"].why == "ftn adapts convolutions"
    assert (rows["body"].numbers, rows["norm"].numbers, rows["stem"].numbers) == (4 + 4 + 9, 8, 0)
    assert found.numbers + found.head == sum(model["a"].counts().values())
    assert found.reached == rows["body"].backbone + rows["norm"].backbone
    assert json.loads(json.dumps(found.as_json()))["rows"][0]["block"] == "stem"
    assert "no: ftn adapts convolutions" in str(found)


def test_reasons_name_targets_and_frozen_stages() -> None:
    net = nn.Sequential(*(nn.Linear(4, 4) for _ in range(3)))
    model = MultiTask(net, tfold.LoRA(rank=1, targets="!2", frozen_stages=1))
    model.add_task("a")
    why = [row.why for row in model.summary("a").rows]
    assert why == ["in frozen stages (frozen_stages=1)", "", "targets leave it out"]


def test_a_model_has_a_short_name() -> None:
    model = MultiTask(small(), tfold.HeadOnly(), num_features=4)
    assert repr(model) == "MultiTask(Sequential of 288 parameters, 0 tasks)"
    for n in range(12):
        model.add_task(f"t{n}", head=2)
    lines = repr(model).splitlines()
    assert lines[1] == "  't0': head-only, 0 numbers, 2 outputs"
    assert lines[-2] == "  … and 2 more"
    assert repr(model["t0"]) == "Task('t0': head-only, 0 numbers, 2 outputs)"
    bank = "Bank(Sequential of 288 parameters, 12 tasks: 't0', 't1', 't2', 't3', "
    assert repr(model.bank()).startswith(bank) and repr(model.bank()).endswith("'t9', … and 2 more)")


def test_weights_out_of_reach_are_said() -> None:
    with pytest.warns(
        AdaptationWarning, match=r"task 'a': 9\d% .*does not adapt here: recurrent layers \(1,664 parameters\)"
    ):
        MultiTask(Recurrent(), tfold.LoRA(rank=1)).add_task("a")
    for method in (
        tfold.LoRA(rank=1, layers="linear"),
        tfold.LoRA(rank=1, layers="recurrent"),
        tfold.FineTuning(),
        tfold.HeadOnly(),
    ):
        MultiTask(Recurrent(), method).add_task("a")  # no word: a warning is an error here


def test_thirty_tasks_of_one_method_are_warned_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, looked = MultiTask(Recurrent(), tfold.LoRA(rank=1)), list[str]()
    whole = _advice.layers_in
    monkeypatch.setattr(_advice, "layers_in", lambda *given: looked.append("") or whole(*given))
    with pytest.warns(AdaptationWarning):
        model.add_task("t")
    for n in range(30):
        model.add_task(f"t{n}", rank=1 + n % 2)
    assert len(looked) == 1
    model.add_task("other", method=tfold.LoRA(rank=1, layers="linear"))  # no word: a warning is an error here
    assert len(looked) == 2


def test_a_classifier_that_stays_new_is_said() -> None:
    net = small()
    net.classifier = nn.Linear(4, 3)
    nn.init.zeros_(net.classifier.bias)
    with pytest.warns(AdaptationWarning, match=r"classifier 'classifier' \(3 outputs\) seems to be newly"):
        MultiTask(net, tfold.HeadNorm()).add_task("a")
    MultiTask(net, tfold.FineTuning()).add_task("a")
    nn.init.ones_(net.classifier.bias)  # it was trained
    MultiTask(net, tfold.HeadNorm()).add_task("a")


def test_loading_a_task_says_nothing_again(tmp_path: Any) -> None:
    model = MultiTask(Recurrent(), tfold.LoRA(rank=1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AdaptationWarning)
        model.add_task("a")
    model.save_task("a", tmp_path / "a.safetensors")
    model.remove_task("a")
    assert model.load_task(tmp_path / "a.safetensors").name == "a"


class Timm(nn.Module):
    """As timm's networks say what they are."""

    num_features = 4

    def __init__(self) -> None:
        super().__init__()
        self.body, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 10)

    def reset_classifier(self, classes: int) -> None:
        assert not classes
        self.fc = nn.Identity()  # type: ignore[assignment]


def ending(last: nn.Module) -> nn.Module:
    return nn.Sequential(OrderedDict(body=nn.Linear(3, 4), classifier=nn.Sequential(nn.ReLU(), last)))


@pytest.mark.parametrize(
    ("net", "width", "head", "message"),
    [
        (Timm(), None, 3, r"classifier 'fc', which returns 10 numbers, .* on 4 features; .*num_classes=0"),
        (ending(nn.Linear(4, 9)), None, 3, r"net\.classifier\[1\] = torch\.nn\.Identity\(\)\) .*num_features=4$"),
        (ending(nn.Linear(4, 9)), 4, 3, r"which returns 9 numbers, and a head is to stand on 4 features"),
        (ending(nn.Linear(4, 9)), None, nn.Linear(4, 3), r"a head is to stand on 4 features"),
    ],
)
def test_a_head_does_not_stand_on_a_classifier(
    net: nn.Module, width: int | None, head: int | nn.Module, message: str
) -> None:
    model = MultiTask(net, tfold.HeadOnly(), num_features=width)
    with pytest.raises(ValueError, match=message):
        model.add_task("a", head=head)
    assert not [*model.tasks]


def test_a_head_stands_on_scores_where_that_is_asked_for() -> None:
    net = ending(nn.Linear(4, 9))
    model = MultiTask(net, tfold.HeadOnly(), num_features=9)
    model.add_task("a", head=3)
    assert model(torch.zeros(2, 3), task="a").shape == (2, 3)
    net = Timm()
    net.reset_classifier(0)
    MultiTask(net, tfold.HeadOnly()).add_task("a", head=3)


def test_layers_and_methods_are_named_where_none_is_found() -> None:
    model = MultiTask(nn.Sequential(nn.Linear(4, 4)), tfold.FTN())
    with pytest.raises(
        ValueError, match=r"has no convolutions to adapt; it has 1 × linear layer.*fit here: .*lora"
    ) as e:
        model.add_task("a")
    assert "ftn," not in str(e.value)


def test_a_convolution_that_is_left_out_by_default_is_named() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 4, stride=4), nn.Flatten(), nn.Linear(4, 4))
    with pytest.raises(ValueError, match=r"its only convolution '0' is.*stem=True \(FTN\).*fit here: .*lora"):
        MultiTask(net, tfold.FTN(norm=False)).add_task("a")
    with pytest.raises(TypeError, match=r"layer '0' \(Conv2d\): a 1×1 convolution beside it.*fit here: .*lora"):
        MultiTask(net, tfold.ParallelAdapter(norm=False)).add_task("a")
    MultiTask(net, tfold.FTN(stem=True, norm=False)).add_task("a")


def test_adapters_of_peft_are_refused() -> None:
    peft = pytest.importorskip("peft")
    net = nn.Sequential(OrderedDict(first=nn.Linear(4, 4), last=nn.Linear(4, 4)))
    made = peft.get_peft_model(net, peft.LoraConfig(target_modules=["first"]))
    for backbone in (made, made.base_model.model):
        with pytest.raises(TypeError, match=r"holds adapters of PEFT .*merge_and_unload"):
            MultiTask(backbone, tfold.LoRA())
    MultiTask(made.merge_and_unload(), tfold.LoRA())


def test_weights_that_are_no_numbers_are_refused_where_a_method_needs_them() -> None:
    net = nn.Sequential(nn.Linear(64, 64, bias=False))
    net[0].weight = nn.Parameter(torch.zeros(2048, 1, dtype=torch.uint8), requires_grad=False)  # four bits, packed
    model = MultiTask(net, tfold.Piggyback())
    with pytest.raises((TypeError, ValueError), match="'0'"):
        model.add_task("a")
    task = MultiTask(net, tfold.LoRA(rank=2)).add_task("a")  # beside it: factors of the true shape, in numbers
    assert {(*p.shape,) for p in task.parameters()} == {(64, 2), (2, 64)} or task.counts()["factors"] == 256
    assert all(p.is_floating_point() for p in task.parameters())
