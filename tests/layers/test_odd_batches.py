"""Batches without rows, inputs without a batch, one value per channel: as in plain torch, or refused by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

import taskfold as tfold
from taskfold import MultiTask

FORMS: list[Any] = ["auto", "factored", "merged", "materialised"]
METHODS = {
    "ftn": tfold.FTN(rank=2),
    "lora": tfold.LoRA(rank=2, layers="all", norm=True),
    "fine-tuning": tfold.FineTuning(),
    "common": tfold.HardSharing(),
    "branches": tfold.RepVGG(),
    "scales": tfold.SSF(),
    "masks": tfold.Piggyback(),
    "over": tfold.OverParameterised(),
    "routed": tfold.Poly(rank=2, skills=2),
    "drawn": tfold.TensorPolyI(rank=4, tensor_rank=2, allocation="random"),
}


def maps() -> nn.Module:
    first = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 5, padding=2, groups=8)]
    last = [nn.Conv2d(8, 8, 1, stride=2), nn.ConvTranspose2d(8, 8, 2), nn.Flatten(), nn.Linear(8 * 64, 8)]
    return nn.Sequential(*first, *last, nn.LayerNorm(8))


def words() -> nn.Module:
    body = nn.Sequential(nn.Embedding(20, 8), nn.LayerNorm(8), nn.Linear(8, 8), nn.GELU())
    return nn.Sequential(
        *body, nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True), nn.Flatten(), nn.Linear(40, 8)
    )


INPUTS = {maps: lambda rows: torch.randn(rows, 3, 16, 16), words: lambda rows: torch.randint(0, 20, (rows, 5))}


def made(network: nn.Module, method: tfold.Method, head: int | None = 3) -> MultiTask:
    torch.manual_seed(0)
    model = MultiTask(network, method, num_features=8)
    try:
        for name in "ab":
            model.add_task(name, head=head)
    except ValueError:
        pytest.skip("the method finds nothing in it")
    with torch.no_grad():
        for number in [*model.tasks.parameters(), *model.inventory.parameters()]:
            if number.requires_grad:
                number += 0.05 * torch.randn_like(number)
    return model


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize("network", INPUTS)
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_a_batch_without_rows(method: tfold.Method, network: Callable[[], nn.Module]) -> None:
    model, none, some = made(network(), method), INPUTS[network](0), INPUTS[network](4)
    for form in FORMS:
        model.execution = form
        model.train()
        model(none, task="a").sum().backward()
        model.eval()
        assert model(none, task="a").shape == (0, 3)
    model.execution = "auto"
    assert all(tensor.isfinite().all() for tensor in [*model.parameters(), *model.buffers()])
    assert all(not p.grad.any() for p in model.parameters() if p.grad is not None)
    bank = model.bank()
    assert bank(none, torch.zeros(0, dtype=torch.long)).shape == (0, 3)
    for both in (model, bank):
        assert [y.shape for y in both(none, task=["a", "b"], broadcast=True).values()] == [(0, 3)] * 2
    assert model.fold("a")(none).shape == (0, 3)
    rows = list("abba")
    for said in (model(some, task=rows), bank(some, task=rows)):  # no empty batch has left anything behind
        for n, name in enumerate(rows):
            torch.testing.assert_close(said[n], model(some, task=name)[n], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "name", ["ftn", *(pytest.param(name, marks=pytest.mark.whole) for name in ("fine-tuning", "masks"))]
)
def test_a_detector_that_finds_nothing(name: str) -> None:
    torch.manual_seed(0)
    body = torchvision.models.detection.backbone_utils.resnet_fpn_backbone(
        backbone_name="resnet18", weights=None, norm_layer=nn.BatchNorm2d
    )
    net = torchvision.models.detection.MaskRCNN(body, num_classes=3, min_size=64, max_size=96, box_score_thresh=1.1)
    model = MultiTask(net, METHODS[name]).eval()
    model.add_task("a")
    images = [torch.rand(3, 64, 96), torch.rand(3, 96, 64)]
    for run in (lambda: model(images, task="a"), lambda: model.fold("a").eval()(images)):
        assert [(len(one["boxes"]), len(one["masks"])) for one in run()] == [(0, 0)] * 2
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}
    targets = [{**nothing, "masks": torch.zeros(0, *image.shape[1:], dtype=torch.uint8)} for image in images]
    model.train()
    sum(model(images, targets, task="a").values()).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


class Wrapped(nn.Conv2d):
    """A convolution with a forward of its own."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) + 0.0


SINGLE: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "conv1d": (lambda: nn.Sequential(nn.Conv1d(3, 8, 3), nn.ReLU(), nn.Conv1d(8, 8, 1)), torch.randn(3, 12)),
    "conv2d": (lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3)), torch.randn(3, 12, 12)),
    "conv3d": (lambda: nn.Sequential(nn.Conv3d(3, 8, 3), nn.ReLU(), nn.Conv3d(8, 8, 3)), torch.randn(3, 7, 7, 7)),
    "transposed": (lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.ConvTranspose2d(8, 8, 2)), torch.randn(3, 8, 8)),
    "depthwise": (lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 5, groups=8)), torch.randn(3, 12, 12)),
    "own": (lambda: nn.Sequential(nn.Conv2d(3, 8, 3), Wrapped(8, 8, 3, padding="same")), torch.randn(3, 12, 12)),
    "linear": (lambda: nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 8)), torch.randn(6)),
    "embedding": (lambda: nn.Sequential(nn.Embedding(9, 8), nn.Linear(8, 8)), torch.tensor(3)),
}


@pytest.mark.parametrize(("network", "x"), SINGLE.values(), ids=SINGLE)
@pytest.mark.parametrize("method", ["lora", "fine-tuning", "branches", "drawn"])
def test_an_input_without_a_batch(method: str, network: Callable[[], nn.Module], x: Tensor) -> None:
    model = made(network(), METHODS[method], head=None)
    for form in FORMS:
        model.execution = form
        found = []
        for given in (x, x[None]):
            model.train()
            model.zero_grad()
            torch.manual_seed(0)
            y = model(given, task="a").reshape(-1)
            if y.requires_grad:
                y.square().sum().backward()
            found.append([y, *(p.grad.clone() for p in model.parameters() if p.grad is not None)])
        torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)
        model.eval()
        y = model(x, task="a")
        torch.testing.assert_close(y, model(x[None], task="a")[0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(y, model.fold("a")(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "method", [tfold.HeadNorm(statistics="own"), tfold.HardSharing(), tfold.RepVGG()], ids=["own", "common", "branches"]
)
@pytest.mark.parametrize("task", ["a", ["a", "b", "b"]], ids=["one", "mixed"])
def test_one_value_per_channel_is_named(method: tfold.Method, task: Any) -> None:
    model = made(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Flatten()), method).train()
    rows = 1 if task == "a" else 3
    with pytest.raises(ValueError, match=r"layer '[01]': BatchNorm of a task's own trains on two or more values"):
        model(torch.randn(rows, 3, 1, 1), task=task)
    assert len(model.eval()(torch.randn(rows, 3, 1, 1), task=task)) == rows


def test_tensors_without_numbers() -> None:
    """Shapes of one task are found on the device `meta`; which rows layers see is not."""
    model = made(nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 8)), tfold.LoRA(rank=2)).to("meta")
    x = torch.randn(4, 6, device="meta")
    assert model(x, task="a").shape[0] == 4
    with pytest.raises(ValueError, match="can't answer a mixed batch of these inputs: tensors on 'meta' hold no numb"):
        model(x, task=["a", "b", "a", "b"])
