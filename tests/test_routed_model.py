"""Models whose tasks share: copies, folding, compiling, and what remains after tasks are removed."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import taskfold as tfold

METHODS: dict[str, tfold.Method] = {
    "lora": tfold.LoRA(rank=2, sharing="shared"),
    "tlora": tfold.TLoRA(rank=2, tensor_rank=2),
    "poly": tfold.Poly(rank=2, skills=3),
    "poly-bernoulli": tfold.Poly(rank=2, skills=3, allocation="bernoulli"),
    "poly-random": tfold.Poly(rank=2, skills=3, allocation="random"),
    "poly-model": tfold.Poly(rank=2, skills=3, granularity="model", layers="all"),
    "mhr": tfold.MHR(rank=2, skills=3, splits=2),
    "tensorpoly-i": tfold.TensorPolyI(rank=2, tensor_rank=3),
    "tensorpoly-ii": tfold.TensorPolyII(rank=2, tensor_rank=3, product_norm=True),
}
every = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Sequential(nn.Linear(6, 8), nn.Tanh()), nn.Linear(8, 4))


def built(method: tfold.Method, net: nn.Module | None = None) -> tfold.MultiTask:
    model = tfold.MultiTask(net or network(), method).eval()
    for name in "ab":
        model.add_task(name)
    for parameter in [*model.tasks.parameters(), *model.inventory.parameters()]:
        nn.init.normal_(parameter)
    return model


def x() -> Tensor:
    return torch.linspace(-1, 1, 24).reshape(4, 6)


def saved(model: tfold.MultiTask) -> tfold.MultiTask:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def loaded(model: tfold.MultiTask) -> tfold.MultiTask:
    other = built(model.method or tfold.HeadOnly())
    other.load_state_dict(model.state_dict())
    return other


@every
@pytest.mark.parametrize("way", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model)), saved, loaded])
def test_a_copy_says_the_same(method: tfold.Method, way: Any) -> None:
    model = built(method)
    with torch.no_grad():
        found = way(model)
        for task in ("a", "b", ["b", "a", "a", "b"]):
            assert torch.equal(found(x(), task=task), model(x(), task=task))
    for parameter in found.inventory.parameters():
        nn.init.zeros_(parameter)
    assert any(p.abs().max() > 0 for p in model.inventory.parameters()) or not len(model.inventory)


@every
def test_folding_while_training_folds_the_task(method: tfold.Method) -> None:
    model = built(method)
    with torch.no_grad():
        expected = model(x(), task="a")
        found = model.train().fold("a")(x())
    torch.testing.assert_close(found, expected)


@pytest.mark.filterwarnings("ignore:While compiling, we found certain side effects:UserWarning")
@pytest.mark.parametrize("method", ["poly", "tensorpoly-i"])
def test_compiled_before_it_ever_ran(method: str) -> None:
    model, twin = built(METHODS[method]), built(METHODS[method])
    twin.load_state_dict(model.state_dict())
    torch.compiler.reset()
    compiled = torch.compile(model.double(), fullgraph=True, backend="eager")
    with torch.no_grad():
        for task in ("a", ["b", "a", "a", "b"]):
            torch.testing.assert_close(compiled(x().double(), task=task), twin.double()(x().double(), task=task))


class Switched(nn.Module):
    """Does something else once it is told to, as Hugging Face's gradient checkpointing is switched on."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.double = nn.Linear(6, 4), False

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) * (2 if self.double else 1)


def test_what_is_switched_in_the_backbone_later_is_seen() -> None:
    model = built(tfold.Poly(rank=2, layers="linear"), Switched())
    with torch.no_grad():
        once = model(x(), task="a")
        model.backbone.double = True
        torch.testing.assert_close(model(x(), task="a"), 2 * once)
        seen: list[Tensor] = []
        handle = model.backbone.linear.register_forward_hook(lambda *given: seen.append(given[-1]))  # type: ignore[union-attr,operator]
        model(x(), task=["a", "b", "a", "b"])
        assert len(seen) == 1
        handle.remove()
        model(x(), task="b")
        assert len(seen) == 1


def test_one_set_of_logits_for_the_model_whatever_its_layers() -> None:
    net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4))
    model = tfold.MultiTask(net, tfold.Poly(rank=2, skills=3, granularity="model", layers="all"))
    assert model.add_task("a").counts()["routing"] == 3
    assert len(model.routing("a")) == 2  # the first convolution is the stem


def test_what_removed_tasks_shared_can_be_forgotten() -> None:
    model = built(tfold.Poly(rank=2, skills=3))
    assert model.drop_inventory() == 0
    model.remove_task("a")
    held = sum(leaf.numel() for leaf in model.inventory.parameters())
    assert (model.drop_inventory(), len(model.inventory)) == (0, 2)
    model.remove_task("b")
    with pytest.raises(ValueError, match="tasks that share an inventory share its sizes"):
        model.add_task("c", rank=3)
    assert model.drop_inventory() == held > 0
    model.add_task("c", rank=3)
    with torch.no_grad():
        assert torch.equal(model(x(), task="c"), model.backbone(x()))


def test_a_view_of_a_removed_task_says_so() -> None:
    model = built(tfold.Poly(rank=2))
    view = model.for_task("a")
    model.remove_task("a")
    model.add_task("a")
    with pytest.raises(RuntimeError, match=r"the task 'a' of this view has been removed.*model\.for_task\('a'\)"):
        view(x())
    copied = copy.deepcopy(model.for_task("b"))
    assert torch.equal(copied(x()), model(x(), task="b"))


class Positions(nn.Module):
    """Positions come first, and serve the whole batch."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 4)

    def forward(self, positions: Tensor, inputs: Tensor) -> Tensor:
        return self.linear(inputs + positions)


def test_rows_are_those_of_the_batch_not_of_what_serves_all_of_it() -> None:
    model = built(tfold.Poly(rank=2, layers="linear"), Positions())
    positions = torch.arange(6.0).reshape(1, 6)
    found = model(positions=positions, inputs=x(), task=["a", "b", "a", "b"])
    torch.testing.assert_close(found[1], model(positions=positions, inputs=x(), task="b")[1])
    with pytest.raises(ValueError, match="task lists 3 names for a batch of 1 rows"):
        model(positions=positions, inputs=x(), task=["a", "b", "a"])
    with pytest.raises(TypeError, match="task must be a list of names, one per row, found None"):
        model(x(), task=None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: tfold.Poly(targets=5), "targets must be a pattern of layer names or a list of them, found 5"),  # type: ignore[arg-type]
        (lambda: tfold.Poly(norm="x"), "norm must be true or false, found 'x'"),  # type: ignore[arg-type]
        (lambda: tfold.TLoRA(product_norm="no"), "product_norm must be true or false, found 'no'"),  # type: ignore[arg-type]
        (lambda: tfold.LoRA(sharing=None), "sharing must be a rule's name, or a mapping of name and settings"),  # type: ignore[arg-type]
        (lambda: tfold.Poly(alpha="1"), "alpha must be a finite number > 0, or None"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_meant_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
