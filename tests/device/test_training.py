"""On the device, gradients are the CPU's, mixed precision is close to them, and training reduces the loss."""

from __future__ import annotations

from functools import cache

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from torch.utils.data import TensorDataset

import taskfold as tfold

from .cases import CASES, METHODS, NETWORKS, ROWS, Transformer, built, images

everywhere = pytest.mark.parametrize(("method", "network"), CASES)
CLASS_OF_ROW = torch.tensor([2, 0, 1, 2, 3])


def gradients(model: tfold.MultiTask, x: Tensor, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """Of the mean loss of a mixed batch in training mode, by parameter; brought to the CPU, in double precision."""
    device = x.device
    with torch.autocast(device.type, dtype, enabled=dtype is not None):
        outputs = model.train()(x, task=ROWS)
        losses = [F.cross_entropy(row, CLASS_OF_ROW[n].to(device)) for n, row in enumerate(outputs)]
        loss = torch.stack(losses).float().mean() if dtype else torch.stack(losses).mean()
    scale = 2.0**10 if dtype is torch.float16 else 1.0
    (loss * scale).backward()
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert all(p.grad is None or p.grad.dtype == p.dtype for p in model.parameters())
    assert all(p.grad is None for p in model.backbone.parameters())
    return {name: gradient.cpu().double() / scale for name, gradient in found.items()}


@cache
def exact(method: str, network: str) -> dict[str, Tensor]:
    """The gradients on the CPU, in double precision."""
    return gradients(built(method, network), images())


@everywhere
def test_gradients_of_a_mixed_batch(method: str, network: str, device: torch.device) -> None:
    expected = exact(method, network)
    found = gradients(built(method, network).to(device), images().to(device))
    assert found.keys() == expected.keys()
    assert any(gradient.abs().max() > 1e-3 for gradient in expected.values())
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-8, atol=1e-9, msg=lambda text, name=name: name + text)


@pytest.mark.in_turn("dtype")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
@everywhere
def test_gradients_under_autocast(method: str, network: str, dtype: torch.dtype, device: torch.device) -> None:
    """All gradients taken together are at most 5 % (bf16) or 1 % (fp16) of their length away from exact ones."""
    expected = exact(method, network)
    model, x = built(method, network, torch.float32).to(device), images(dtype=torch.float32).to(device)
    found = gradients(model, x, dtype)
    assert found.keys() == expected.keys()
    true, near = (torch.cat([one[name].flatten() for name in expected]) for one in (expected, found))
    assert near.isfinite().all()
    assert (near - true).norm() / true.norm() < (0.05 if dtype is torch.bfloat16 else 0.01)


class Recomputed(Transformer):
    """Its blocks keep no activations."""

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).mT
        for block in self.blocks:
            made = checkpoint(block, tokens, use_reentrant=False, context_fn=tfold.checkpoint_context)
            assert isinstance(made, Tensor)
            tokens = made
        return tokens.mean(1)


@pytest.mark.parametrize("method", [name for name, (_, networks) in METHODS.items() if "transformer" in networks])
def test_checkpointing_changes_no_gradient(method: str, device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = exact(method, "transformer")
    monkeypatch.setitem(NETWORKS, "transformer", Recomputed)
    model = built(method, "transformer").to(device)
    assert isinstance(model.backbone, Recomputed)
    found = gradients(model, images().to(device))
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-8, atol=1e-9, msg=lambda text, name=name: name + text)


def brightness(size: int, seed: int) -> TensorDataset:
    """Three classes of images that differ in brightness."""
    dice = torch.Generator().manual_seed(seed)
    targets = torch.randint(3, (size,), generator=dice)
    return TensorDataset(torch.randn(size, 3, 8, 8, generator=dice) + 2 * targets[:, None, None, None], targets)


@pytest.mark.parametrize("precision", ["no", "bf16", "fp16"])
def test_training_a_task(precision: str, device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    train = pytest.importorskip("taskfold.train", reason="needs the extra train", exc_type=ImportError)
    if precision == "fp16" and device.type == "cpu":
        pytest.skip("Settings refuses fp16 without a GPU")
    if device.type == "cpu":
        monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    model = built("ftn", "convolutional", torch.float32)
    before = {key: tensor.clone() for key, tensor in model.backbone.state_dict().items()}
    other = {key: tensor.clone() for key, tensor in model["b"].state_dict().items()}
    settings = train.Settings(epochs=4, batch_size=16, precision=precision, checkpoint_every=0)
    result = train.train_task(model, "a", brightness(96, 0), brightness(48, 1), settings, quiet=True)
    assert {p.device.type for p in model.parameters()} == {device.type}
    assert result.best["val_accuracy"] > 0.8
    assert all(torch.equal(tensor.cpu(), before[key]) for key, tensor in model.backbone.state_dict().items())
    assert all(torch.equal(tensor.cpu(), other[key]) for key, tensor in model["b"].state_dict().items())
