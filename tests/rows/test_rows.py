"""A mixed batch gives the tasks' outputs one by one, for rows in any place of the network; or it is refused."""

from __future__ import annotations

import copy
import sys
import warnings
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

import taskfold as tfold

from .networks import ONE_BY_ONE, TOGETHER, Experts, Inside, Mixing, Pictures, Rows, Views

NETWORKS = TOGETHER | ONE_BY_ONE
METHODS = {
    "lora": tfold.LoRA(rank=2, layers="linear", init="normal"),
    "fine-tuning": tfold.FineTuning(),
}


def built(network: nn.Module, method: tfold.Method, **settings: Any) -> tfold.MultiTask:
    torch.manual_seed(0)
    model = tfold.MultiTask(network, method, **settings).eval()
    for name in "abc":
        for parameter in model.add_task(name, head=3).parameters():
            parameter.data.add_(0.3 * torch.randn_like(parameter))
    return model


def rows_of(model: tfold.MultiTask, x: Tensor, names: list[str]) -> Tensor:
    return torch.stack([model(x, task=name)[n] for n, name in enumerate(names)])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("network", NETWORKS)
def test_mixed_batches(network: str, method: str) -> None:
    torch.manual_seed(0)
    model = built(NETWORKS[network](), METHODS[method])
    for batch in ("abab", "aabcc", "cab", "bcaabbcac"):  # one form, several sizes and mixtures
        x, names = torch.randn(len(batch), 6), list(batch)
        wanted = rows_of(model, x, names)
        other = rows_of(model, x, names[1:] + names[:1])
        assert (wanted - other).abs().max() > 100 * 1e-5
        for run in (model, model.bank()):
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                found = torch.stack(list(run(x, task=names)))
            torch.testing.assert_close(found, wanted)
            slower = any("task by task" in str(warning.message) for warning in said)
            if batch == "abab":
                changed = (network, method) != ("learned", "lora")  # which leaves alone what is given nothing
                assert slower == (network in ONE_BY_ONE and changed), said


@pytest.mark.parametrize("network", NETWORKS)
def test_gradients(network: str) -> None:
    torch.manual_seed(0)
    model = built(NETWORKS[network](), METHODS["lora"])
    x, names = torch.randn(4, 6), list("abca")

    def gradients(output: Tensor) -> list[Tensor]:
        given = [p for name in "abc" for p in model[name].parameters()]
        return list(torch.autograd.grad(output.square().sum(), given, allow_unused=True, materialize_grads=True))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mixed = gradients(torch.stack(list(model(x, task=names))))
    for one, other in zip(mixed, gradients(rows_of(model, x, names)), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.filterwarnings("ignore:.*runs tasks one after another")
def test_broadcast(network: str) -> None:
    torch.manual_seed(0)
    model, x = built(NETWORKS[network](), METHODS["fine-tuning"]), torch.randn(4, 6)
    for run in (model, model.bank()):
        for name, found in run(x, task=["c", "a"], broadcast=True).items():
            torch.testing.assert_close(found, model(x, task=name))


def test_equal_rows_say_nothing_about_their_places() -> None:
    """The first batch has the same row four times; what is found then must not be taken for the next one."""
    model = built(Views(), METHODS["lora"])
    for x in (torch.zeros(4, 6), torch.ones(4, 6), torch.randn(4, 6)):
        found = torch.stack(list(model(x, task=list("abab"))))
        torch.testing.assert_close(found, rows_of(model, x, list("abab")))


def test_a_layer_that_only_later_tasks_change_is_asked_about() -> None:
    model = built(Inside(), METHODS["lora"].with_settings(targets="first"))
    x = torch.randn(4, 6)
    model(x, task=list("abab"))
    for parameter in model.add_task("z", head=3, targets="*").parameters():
        parameter.data.add_(0.3 * torch.randn_like(parameter))
    torch.testing.assert_close(torch.stack(list(model(x, task=list("azaz")))), rows_of(model, x, list("azaz")))


def test_experts_are_right_for_every_input() -> None:
    model = built(Experts(), METHODS["lora"])
    with pytest.warns(UserWarning, match="Experts answers mixed batches task by task.*numbers of the input say"):
        model(torch.randn(4, 6), task=list("abab"))
    for seed in range(20):
        torch.manual_seed(seed)
        x = torch.randn(4, 6)
        torch.testing.assert_close(torch.stack(list(model(x, task=list("abab")))), rows_of(model, x, list("abab")))


def test_what_mixes_rows_is_refused() -> None:
    model = built(Mixing(), METHODS["lora"])
    for run in (model, model.bank()):
        with pytest.raises(
            ValueError, match=r"Mixing can't answer a mixed batch.*output \[4, 8\].*run one task at a t"
        ):
            run(torch.randn(4, 6), task=list("abab"))
    assert [len(y) for y in model(torch.randn(4, 6), task=["a"] * 4)] == [3] * 4


def test_inputs_that_belong_to_no_row_are_refused() -> None:
    """As many pictures as rows, but the first row has two of them; with one each tasks may be answered."""
    model = built(Pictures(), METHODS["lora"])
    x, pictures = torch.ones(2, 6), torch.randn(2, 6)
    with pytest.warns(UserWarning, match="task by task"):
        found = torch.stack(list(model(x, pictures, task=["a", "b"])))
    wanted = [model(x, pictures, task=name)[n] for n, name in enumerate("ab")]
    torch.testing.assert_close(found, torch.stack(wanted))
    for counts in ([2.0, 0.0], [0.0, 2.0]):
        x[:, 0] = torch.tensor(counts)
        with pytest.raises(ValueError, match="Pictures can't answer"):
            model(x, pictures, task=["a", "b"])


def test_rows_may_be_answered_task_by_task_on_demand() -> None:
    model = built(Views(), METHODS["lora"], rows="separate")
    x, sizes = torch.randn(4, 6), []
    model.backbone.first.register_forward_hook(lambda _, args, __: sizes.append(len(args[0])))
    torch.testing.assert_close(torch.stack(list(model(x, task=list("aaab")))), rows_of(model, x, list("aaab")))
    assert sizes[:2] == [6, 2]
    model.rows = "checked"
    sizes.clear()
    model(x, task=list("aaab"))
    assert sizes == [8]
    with pytest.raises(ValueError, match="rows must be 'checked' or 'separate', found 'guessed'"):
        model.rows = "guessed"  # type: ignore[assignment]


def test_heads_alone_need_no_rows_inside() -> None:
    model = built(Mixing(), tfold.HeadOnly())
    x = torch.randn(4, 6)
    torch.testing.assert_close(torch.stack(list(model(x, task=list("abca")))), rows_of(model, x, list("abca")))


def test_features_must_be_rows() -> None:
    class Twice(Rows):
        def forward(self, x: Tensor) -> Tensor:
            return self.first(torch.cat([x, x]))

    model = built(Twice(), tfold.HeadOnly())
    with pytest.raises(ValueError, match=r"features \[8, 8\] for a mixed batch of 4 rows"):
        model(torch.randn(4, 6), task=list("abab"))


@pytest.mark.filterwarnings("ignore:.*answers mixed batches task by task")
def test_statistics_move_once_where_a_later_mixture_fails_half_way() -> None:
    """A layer that runs in training alone was not there when rows were looked for: it is met after BatchNorm is."""

    class Auxiliary(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.aside, self.last = nn.BatchNorm1d(6), nn.Linear(6, 6), nn.Linear(6, 8)
            self.num_features = 8

        def forward(self, x: Tensor) -> Tensor:
            x = self.norm(x)
            return self.last(x + self.aside(x) if self.training else x)

    torch.manual_seed(0)
    model = tfold.MultiTask(Auxiliary())
    for name, targets in (("a", "last"), ("b", "last"), ("c", ("last", "aside"))):
        model.add_task(name, 2, method=tfold.LoRA(rank=1, targets=targets, norm=True, statistics="own"))
    x = torch.randn(6, 6)
    model.train()
    model(x, task=list("aaabbb"))
    twin = copy.deepcopy(model)
    model(x, task=list("aaaccc"))
    twin(x[:3], task="a"), twin(x[3:], task="c")
    for name in "ac":
        mine, wanted = (dict(one.tasks[name].named_buffers()) for one in (model, twin))
        assert wanted
        for key, buffer in wanted.items():
            torch.testing.assert_close(mine[key], buffer)


def test_a_mixed_pass_takes_few_python_calls() -> None:
    """At most 1,000 calls of the library's for a ResNet-18 and 32 rows of 32 tasks."""
    model = tfold.MultiTask(timm.create_model("resnet18", num_classes=0), tfold.FTN(rank=8)).eval()
    names = [f"t{n}" for n in range(32)]
    for n, name in enumerate(names):
        model.add_task(name, head=10 + n)
    x, home = torch.randn(32, 3, 32, 32), str(Path(tfold.__file__).parent)
    for run in (model, model.bank()):
        calls: Counter[str] = Counter()

        def seen(frame: FrameType, event: str, _: object, calls: Counter[str] = calls) -> None:
            if event == "call" and frame.f_code.co_filename.startswith(home):
                calls[frame.f_code.co_name] += 1

        with torch.no_grad():
            run(x, task=names), run(x, task=names)
            sys.setprofile(seen)
            try:
                run(x, task=names)
            finally:
                sys.setprofile(None)
        assert 100 < calls.total() <= 1_000, calls.most_common(10)
