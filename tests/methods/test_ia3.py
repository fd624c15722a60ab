"""(IA)³ and LayerNorm tuning against PEFT's, and against scaled rows and columns of weights."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.func import functional_call
from transformers import BertConfig, BertModel, GPT2Config, GPT2Model, T5ForConditionalGeneration

import taskfold as tfold
from taskfold.layers import parts_of

from .cases import ATTENTION, TorchEncoder
from .test_adapter import TINY, text

GPT2 = GPT2Config(
    n_embd=8, n_head=2, n_layer=1, n_positions=8, vocab_size=20, attn_pdrop=0.0, resid_pdrop=0.0, embd_pdrop=0.0
)


def stirred(network: nn.Module, method: tfold.Method) -> tuple[tfold.MultiTask, dict[str, Tensor]]:
    """A model with a task `a`, and the task's leaves by layer and name."""
    torch.manual_seed(0)
    model = tfold.MultiTask(network.double(), method).eval()
    model.add_task("a").double()
    leaves = {f"{path}:{name}": leaf for (path, _), part in parts_of(model["a"]) for name, leaf in part.own.items()}
    with torch.no_grad():
        for leaf in leaves.values():
            leaf.copy_(torch.rand_like(leaf) + 0.5)
    return model, leaves


def assert_same(found: Tensor, mine: list[Tensor], wanted: Tensor, theirs: list[Tensor]) -> None:
    torch.testing.assert_close(found, wanted)
    toward = torch.randn_like(wanted)
    ours = torch.autograd.grad((found * toward).sum(), mine)
    for one, other in zip(ours, torch.autograd.grad((wanted * toward).sum(), theirs), strict=True):
        torch.testing.assert_close(one.flatten(), other.flatten())


@pytest.mark.parametrize("method", [tfold.IA3(), tfold.LayerNormTuning()], ids=lambda method: method.name)
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated", "ignore:Unsupported layer type")
def test_the_same_as_peft(method: tfold.Method) -> None:
    peft = pytest.importorskip("peft", minversion="0.21")
    network = T5ForConditionalGeneration(TINY)
    twin = copy.deepcopy(network).double().eval()
    model, leaves = stirred(network, method)
    if method.name == "ia3":
        config = peft.IA3Config(target_modules=["k", "v", "wo"], feedforward_modules=["wo"])
        theirs = peft.get_peft_model(twin, config).eval().base_model.model
        of = {f"{path}:{key}": f"{path}.ia3_l.default" for path, key in (name.split(":") for name in leaves)}
    else:
        config = peft.LNTuningConfig(target_modules=["layer_norm", "final_layer_norm"])
        theirs = peft.get_peft_model(twin, config).eval().base_model.model
        of = {name: f"{name.partition(':')[0]}.ln_tuning_layers.default.weight" for name in leaves}
    others = dict(theirs.named_parameters())
    assert {name for name, one in others.items() if one.requires_grad} == {*of.values()}
    with torch.no_grad():
        for name, leaf in leaves.items():
            others[of[name]].copy_(leaf.reshape(others[of[name]].shape))
    found, wanted = text(model, task="a"), text(theirs)
    assert not torch.allclose(found, text(network), atol=1e-3)
    assert_same(found, [*leaves.values()], wanted, [others[of[name]] for name in leaves])


@pytest.mark.parametrize(
    ("build", "places", "x"),
    [
        (
            ATTENTION["timm-vit"],
            {"blocks.0.attn.qkv": ("weight", "bias"), "blocks.0.mlp.fc2": "weight"},
            torch.randn(2, 3, 32, 32),
        ),
        (lambda: GPT2Model(GPT2), {"h.0.attn.c_attn": ("weight", "bias"), "h.0.mlp.c_proj": "weight"}, None),
        (
            TorchEncoder,
            {
                "encoder.layers.1.self_attn": ("in_proj_weight", "in_proj_bias"),
                "encoder.layers.1.linear2": "weight",
            },
            torch.randn(2, 3, 32, 32),
        ),
    ],
    ids=["timm-vit", "gpt2", "torch-encoder"],
)
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_rows_of_keys_and_values_and_columns_of_the_last_layer(
    build: Callable[[], nn.Module], places: dict[str, tuple[str, str] | str], x: Tensor | None
) -> None:
    network = build()
    model, leaves = stirred(network, tfold.IA3(targets=tuple(places)))
    assert {name.partition(":")[0] for name in leaves} == {*places}
    own, changed = dict(network.named_parameters()), {}
    for path, names in places.items():
        turned = -1 if path.startswith("h.") else 0  # GPT-2's outputs are the last axis
        if isinstance(names, str):
            scale = leaves[f"{path}:scale"]
            changed[f"{path}.{names}"] = own[f"{path}.{names}"] * (scale[:, None] if turned else scale)
            continue
        key, value = leaves[f"{path}:key"], leaves[f"{path}:value"]
        scale = torch.cat([torch.ones_like(key), key, value])
        weight, bias = (own[f"{path}.{name}"] for name in names)
        changed[f"{path}.{names[0]}"] = weight * (scale if turned else scale[:, None])
        changed[f"{path}.{names[1]}"] = bias * scale

    def run(model: Callable[..., object], **task: str) -> Tensor:
        y = model(torch.arange(10).reshape(2, 5) if x is None else x.double(), **task)
        return y if isinstance(y, Tensor) else y.last_hidden_state  # type: ignore[attr-defined]

    for module in network.modules():
        if isinstance(module, (nn.Dropout, nn.MultiheadAttention)):
            setattr(module, "dropout" if isinstance(module, nn.MultiheadAttention) else "p", 0.0)
    wanted = run(lambda *args: functional_call(network.train(), changed, args))  # there torch has no fused path
    network.eval()
    assert_same(run(model, task="a"), [*leaves.values()], wanted, [*leaves.values()])


def test_it_finds_the_places_of_a_bert() -> None:
    network = BertModel(
        BertConfig(vocab_size=20, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=12)
    )
    model, leaves = stirred(network, tfold.IA3())
    assert len(leaves) == 6
    assert model["a"].counts()["scale"] == 2 * (8 + 8 + 12)
    assert stirred(network, tfold.IA3(places="attention"))[0]["a"].counts()["scale"] == 2 * 16
    assert stirred(network, tfold.IA3(places="feed-forward"))[0]["a"].counts()["scale"] == 2 * 12


@pytest.mark.parametrize(
    ("method", "says"),
    [
        (tfold.IA3(), r"ResNet has no attention to adapt; it has 12 × convolution, 12 × BatchNorm: choose a method"),
        (tfold.IA3(places="feed-forward"), r"ResNet has no feed-forward blocks to adapt; it has 12 × convolution"),
        (
            tfold.LayerNormTuning(),
            r"no LayerNorm, RMSNorm or GroupNorm that a task could own; it has 12 × convolution, .*'head-norm'",
        ),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_convolutional_networks_are_refused(method: tfold.Method, says: str) -> None:
    with torch.device("meta"):
        model = tfold.MultiTask(timm.create_model("resnet18", num_classes=0, layers=(1, 1, 1, 1)))
    with pytest.raises(ValueError, match=says):
        model.add_task("a", method=method)
    assert not model.tasks


def test_batch_norm_stays_the_backbones() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.GroupNorm(2, 4), nn.RMSNorm([4, 4]))
    task = tfold.MultiTask(network, tfold.LayerNormTuning()).add_task("a")
    assert [path for (path, _), _ in parts_of(task)] == ["2", "3"]


@pytest.mark.parametrize("setting", ["places", "sharing"])
def test_what_is_refused(setting: str) -> None:
    with pytest.raises(ValueError, match=f"^{setting}='none' is not known"):
        tfold.IA3(**{setting: "none"})  # type: ignore[arg-type]
