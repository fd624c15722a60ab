"""KAdaptation: weights and biases by the formula, in value and gradient; what is common; what is refused."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
from timm.models.vision_transformer import Attention as TimmAttention
from torch import Tensor, nn
from torch.func import functional_call

from taskfold import KAdaptation, MultiTask
from taskfold.layers import parts_of

from ..layers.cases import GPT, Separate, TorchAttention


class Apart(Separate):
    """Query and value in layers of their own, as wide as one another; the query has no bias."""

    def __init__(self) -> None:
        super().__init__()
        self.q_proj, self.o_proj = nn.Linear(8, 6, bias=False), nn.Linear(6, 8)


BUILDS: dict[str, tuple[Callable[[], nn.Module], str, str, int]] = {
    # The module, where the weights of query and value are, and their rows' width.
    "fused": (lambda: TimmAttention(8, num_heads=2, qkv_bias=True), "qkv.weight", "qkv.bias", 8),
    "fused-conv1d": (GPT, "attention.c_attn.weight", "attention.c_attn.bias", 8),
    "unit": (TorchAttention, "attention.in_proj_weight", "attention.in_proj_bias", 8),
    "unit-kv": (lambda: TorchAttention(kdim=16, vdim=8), "attention.{}_proj_weight", "attention.in_proj_bias", 8),
    "apart": (Apart, "{}_proj.weight", "{}_proj.bias", 6),
}
METHOD = KAdaptation(terms=2, scale=3.0)


def two_blocks(build: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(build(), build()).double()


def adapted(network: nn.Module, method: KAdaptation = METHOD, strength: float = 0.5) -> MultiTask:
    model = MultiTask(network, method).eval()
    model.add_task("a").double()
    for parameter in model["a"].parameters():
        parameter.data.add_(strength * torch.randn_like(parameter))
    return model


def dense(model: MultiTask, weight: str, bias: str, width: int) -> dict[str, Tensor]:
    """The network's tensors with H and b, term by term."""
    found: dict[str, Tensor] = dict(model.backbone.named_parameters())
    biased: set[tuple[str, int]] = set()
    for (path, _), part in parts_of(model["a"]):
        held, block = part.own.held(), path.split(".")[0]
        if "bias" in held:
            for n, letter in ((0, "q"), (2, "v")):
                key, place = f"{block}.{bias.format(letter)}", 0 if "{}" in bias else n * width
                if (key, place) not in biased:
                    biased.add((key, place))
                    own = found.get(key, torch.zeros(width, dtype=torch.float64))
                    found[key] = own.index_add(0, torch.arange(width) + place, held["bias"])
            continue
        terms = zip(held["slow_in"], held["slow_out"], held["fast_in"], held["fast_out"], strict=True)
        products = [torch.kron((a @ c).contiguous(), (u @ v).contiguous()) for a, c, u, v in terms]
        h = 3.0 * torch.stack(products).sum(0)
        n, letter = {"query": (0, "q"), "value": (2, "v")}[part.view.name]  # type: ignore[attr-defined]
        key = f"{block}.{weight.format(letter)}"
        if "{}" in weight:
            found[key] = found[key] + h.T
        else:
            turned = found[key].shape[0] < found[key].shape[1]  # GPT-2's layers have inputs first
            rows = torch.arange(width) + n * width
            found[key] = found[key].index_add(int(turned), rows, h if turned else h.T)
    return found


@pytest.mark.parametrize("name", BUILDS)
def test_it_is_the_formula_in_value_and_gradient_mixed_and_folded(name: str) -> None:
    build, weight, bias, width = BUILDS[name]
    model = adapted(two_blocks(build))
    x = torch.randn(3, 5, 8, dtype=torch.float64, requires_grad=True)
    found, wanted = model(x, task="a"), functional_call(model.backbone, dense(model, weight, bias, width), (x,))
    torch.testing.assert_close(found, wanted)
    assert not torch.allclose(found, model.backbone(x))
    given, toward = [x, *model["a"].parameters()], torch.randn_like(found)
    torch.testing.assert_close(
        torch.autograd.grad((found * toward).sum(), given), torch.autograd.grad((wanted * toward).sum(), given)
    )
    model.add_task("b").double()
    with torch.no_grad():
        torch.testing.assert_close(model.fold("a")(x), wanted)
        rows = ["a", "b", "a"]
        alone = torch.stack([wanted[0], model.backbone(x)[1], wanted[2]])
        torch.testing.assert_close(model(x, task=rows), alone)
        torch.testing.assert_close(model.bank()(x, task=rows), alone)


@pytest.mark.parametrize("name", BUILDS)
def test_slow_weights_are_the_task_s_and_a_bias_is_the_block_s(name: str) -> None:
    task = adapted(two_blocks(BUILDS[name][0]))["a"]
    width = BUILDS[name][3]
    inputs = 16 if name != "apart" else 14
    assert {group: count for group, count in task.counts().items() if count} == {
        "factors": 2 * 2 * inputs + 4 * 2 * 2,
        "bias": 2 * width,
    }


def test_its_start_is_the_backbone_with_a_gradient_and_the_authors_is_dead() -> None:
    network, x = two_blocks(BUILDS["fused"][0]), torch.randn(3, 5, 8, dtype=torch.float64)
    for init, lives in (("zero", True), ("authors", False)):
        model = adapted(network, KAdaptation(terms=2, init=init), 0.0)  # type: ignore[arg-type]
        assert torch.equal(model(x, task="a"), network(x))
        leaves = model["a"].groups()["factors"]
        model(x, task="a").square().sum().backward()
        assert any(leaf.grad is not None and bool(leaf.grad.any()) for leaf in leaves) == lives


@pytest.mark.parametrize(
    ("build", "method", "message"),
    [
        (
            Separate,
            METHOD,
            r"layer '0.v_proj' has a leaf 'bias' of \(6,\), .* common with layers where it is \(12,\)",
        ),
        (Apart, KAdaptation(terms=4), r"terms=4 of the Kronecker products must divide the 6 outputs"),
        (lambda: nn.Linear(3, 3), METHOD, r"has no attention to adapt"),
        (lambda: nn.MultiheadAttention(8, 2, bias=False), METHOD, r"has no place for a bias"),
    ],
)
def test_what_does_not_fit_is_refused(build: Callable[[], nn.Module], method: KAdaptation, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MultiTask(nn.Sequential(build()), method).add_task("a")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"terms": 0}, "terms must be a whole number ≥ 1"),
        ({"scale": 0.0}, "scale must be a finite number > 0"),
        ({"scale": "x"}, "scale must be a finite number > 0, found 'x'"),
        ({"init": "none"}, "init='none' is not known; choose one of zero, authors"),
    ],
)
def test_bad_settings_are_named_at_construction(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        KAdaptation(**settings)
