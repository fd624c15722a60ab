"""Compacter against its formula, and its settings."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import Tensor, nn

import taskfold as tfold
from taskfold.layers import parts_of

from .cases import ATTENTION
from .test_promises import images


class Reference(nn.Module):
    """y + W_up relu(W_down y + b) + b', where y W = y Σ_i A_i ⊗ (s_i t_i)."""

    def __init__(self, leaves: dict[str, Tensor]) -> None:
        super().__init__()
        self.leaves = leaves

    def matrix(self, name: str) -> Tensor:
        slow, fast = self.leaves[f"{name}_slow"], (self.leaves[f"{name}_fast_in"], self.leaves[f"{name}_fast_out"])
        terms = [torch.kron(a, s @ t) for a, s, t in zip(slow.unbind(), *map(Tensor.unbind, fast), strict=True)]
        return torch.stack(terms).sum(0)

    def forward(self, module: nn.Module, inputs: object, y: Tensor) -> Tensor:
        z = (y @ self.matrix("down") + self.leaves["down_bias"]).relu()
        return y + z @ self.matrix("up") + self.leaves["up_bias"]


@pytest.mark.parametrize("slow", ["own", "common"])
def test_the_same_as_the_formula(slow: str) -> None:
    torch.manual_seed(0)
    network = ATTENTION["timm-vit"]().double().eval()
    method = tfold.Compacter(8, terms=2, rank=2, norm=False, init="t-few", slow=slow)  # type: ignore[arg-type]
    model = tfold.MultiTask(network, method).eval()
    task = model.add_task("a").double()
    x = images(3).double()
    plain = network(x)
    found, hooks = model(x, task="a"), []
    for (path, _), part in parts_of(task):
        hooks.append(network.get_submodule(path).register_forward_hook(Reference(dict(part.own.items()))))
    assert len(hooks) == 4
    wanted = network(x)
    torch.testing.assert_close(found, wanted)
    assert not torch.allclose(found, plain, atol=1e-4)
    leaves, toward = list(task.parameters()), torch.randn_like(wanted)
    assert len({id(leaf) for _, part in parts_of(task) for name, leaf in part.own.items() if "slow" in name}) == (
        1 if slow == "common" else 8
    )
    for ours, other in zip(
        torch.autograd.grad((found * toward).sum(), leaves),
        torch.autograd.grad((wanted * toward).sum(), leaves),
        strict=True,
    ):
        torch.testing.assert_close(ours, other)


def test_cross_attention_has_none() -> None:
    class Decoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.TransformerDecoderLayer(8, 2, 16)

    def places(**settings: object) -> set[str]:
        task = tfold.MultiTask(Decoder()).add_task("a", method=tfold.Compacter(4, **settings))  # type: ignore[arg-type]
        return {path for (path, name), _ in parts_of(task) if name.endswith("adapter")}

    assert places() == {"layer.self_attn", "layer.linear2"}
    assert places(targets="*") == {"layer.self_attn", "layer.multihead_attn", "layer.linear2"}


@pytest.mark.parametrize(
    ("init", "spread", "starts"), [("zero", 0.02, True), ("t-few", 0.02, False), ("authors", 1e-4, False)]
)
def test_starts(init: str, spread: float, starts: bool) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64)))
    method = tfold.CompacterPlusPlus(32, terms=16, norm=False, init=init)  # type: ignore[arg-type]
    model = tfold.MultiTask(network, method).eval()
    ((_, part),) = parts_of(model.add_task("a"))
    assert part.own["down_slow"].std().item() == pytest.approx(spread, rel=0.1)
    x = torch.randn(3, 64)
    assert torch.equal(model(x, task="a"), network(x)) == starts


def test_what_is_refused() -> None:
    for setting in ("slow", "init", "places", "activation", "sharing"):
        with pytest.raises(ValueError, match=f"^{setting}='none' is not known"):
            tfold.Compacter(**{setting: "none"})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="width must be a multiple of terms=4, found 6"):
        tfold.Compacter(width=6)
    with pytest.raises(ValueError, match="terms must be a whole number ≥ 1, found 0"):
        tfold.Compacter(terms=0)
    network = nn.Sequential(nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 6)))
    with pytest.raises(ValueError, match=r"layer '0.2': terms=4 of the Kronecker products must divide the 6 inputs"):
        tfold.MultiTask(network).add_task("a", method=tfold.CompacterPlusPlus(norm=False))
    with pytest.raises(ValueError, match=r"layers have leaves in common, which tasks then can't share; use sharing="):
        tfold.MultiTask(network).add_task(
            "a", method=tfold.CompacterPlusPlus(4, terms=2, norm=False, slow="common", sharing="shared")
        )


@pytest.mark.parametrize(
    ("method", "what"),
    [
        (tfold.BottleneckAdapter(), "feed-forward blocks"),
        (tfold.BottleneckAdapter(places="houlsby"), "attention"),
        (tfold.Compacter(), "attention"),
        (tfold.CompacterPlusPlus(), "feed-forward blocks"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_convolutional_networks_are_refused(method: tfold.Method, what: str) -> None:
    with torch.device("meta"):
        model = tfold.MultiTask(timm.create_model("resnet18", num_classes=0, layers=(1, 1, 1, 1)))
    with pytest.raises(ValueError, match=f"ResNet has no {what} to adapt; it has 12 × convolution, 12 × BatchNorm"):
        model.add_task("a", method=method)
    assert not model.tasks
