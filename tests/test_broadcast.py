"""Every image for several tasks: the tasks one by one, and one pass for those whose network is the same."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import taskfold as tfold
from taskfold import MultiTask
from taskfold.methods import Method


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )


def built(method: Method) -> MultiTask:
    model = MultiTask(network(), method, num_features=4)
    for n, name in enumerate("abc"):
        model.add_task(name, head=2 + n)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


def counted(model: MultiTask) -> list[int]:
    """Grows by one for every pass through the backbone."""
    passes: list[int] = []
    model.backbone[0].register_forward_hook(lambda *_: passes.append(1))  # type: ignore[operator,union-attr]
    return passes


METHODS = {
    "hard sharing": (tfold.HardSharing(), 1),
    "expandnet": (tfold.ExpandNet(rate=1.5), 1),
    "repvgg": (tfold.RepVGG(), 1),
    "head only": (tfold.HeadOnly(), 1),
    "shared factors": (tfold.FTN(rank=2, sharing="shared", norm=False, stem=True), 1),
    "own normalisation": (tfold.FTN(rank=2, sharing="shared"), 3),
    "diagonals": (tfold.OverParameterised(), 3),
    "own factors": (tfold.LoRA(rank=2, layers="convolution"), 3),
    "routed": (tfold.Poly(rank=2, skills=2, layers="convolution"), 3),
    "fine-tuning": (tfold.FineTuning(), 3),
}


@pytest.mark.parametrize(("method", "passes"), METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
def test_each_output_is_the_task_s_own(method: Method, passes: int, training: bool) -> None:
    model = built(method)
    x, seen = torch.randn(5, 3, 6, 6), counted(model)
    model.train(training)
    every = model(x, task=["c", "a", "b"], broadcast=True)
    assert list(every) == ["c", "a", "b"]
    assert len(seen) == passes
    for name, output in every.items():
        torch.testing.assert_close(output, model(x, task=name))


def test_gradients_are_those_of_the_tasks_one_by_one() -> None:
    def gradients(together: bool) -> list[Tensor]:
        model = built(tfold.HardSharing())
        x = torch.randn(5, 3, 6, 6, generator=torch.Generator().manual_seed(1))
        outputs = model(x, task=list("abc"), broadcast=True) if together else {n: model(x, task=n) for n in "abc"}
        sum(output.square().sum() for output in outputs.values()).backward()  # type: ignore[union-attr]
        return [p.grad for p in model.parameters() if p.grad is not None]

    torch.testing.assert_close(gradients(True), gradients(False))


def test_tasks_of_different_methods_go_their_own_ways() -> None:
    model = built(tfold.HardSharing())
    model.add_task("d", method=tfold.HeadOnly())
    model.add_task("e", head=2, method=tfold.HeadOnly())
    model.eval()
    x, seen = torch.randn(2, 3, 6, 6), counted(model)
    every = model(x, task=["a", "d", "b", "e"], broadcast=True)
    assert len(seen) == 2
    assert every["d"].shape == (2, 4)  # the backbone's own output
    torch.testing.assert_close(every["e"], model(x, task="e"))


def test_common_statistics_move_once_per_batch() -> None:
    model = built(tfold.HardSharing()).train()
    x = torch.randn(5, 3, 6, 6)
    model(x, task=list("abc"), broadcast=True)
    assert model.inventory["hard-sharing/1/rest"]["num_batches_tracked"] == 1


@pytest.mark.parametrize(
    ("task", "kind", "said"),
    [
        ("a", TypeError, "task must be a list of names, found 'a'"),
        ([], ValueError, "at least one name"),
        (["a", "a"], ValueError, "none twice"),
        (["a", "z"], ValueError, "task 'z' is not known"),
    ],
)
def test_bad_lists_are_refused(task: object, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        built(tfold.HeadOnly())(torch.randn(2, 3, 6, 6), task=task, broadcast=True)


@pytest.mark.parametrize("method", [method for method, _ in METHODS.values()], ids=list(METHODS))
def test_compiled_as_one_graph(method: Method) -> None:
    model, x = built(method), torch.randn(3, 3, 6, 6)
    with torch.no_grad():
        alone, every = model(x, task="a"), model(x, task=["a", "b"], broadcast=True)
        torch.compiler.reset()
        compiled = torch.compile(model, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(x, task="a"), alone)  # forms may differ: one graph for every shape
        for name, output in compiled(x, task=["a", "b"], broadcast=True).items():
            torch.testing.assert_close(output, every[name])
