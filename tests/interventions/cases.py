"""One row per intervention and one per layer; every law runs on each pair that fits.

An intervention's row has its tensors at a layer, and the formula of their effect, without Taskfold.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from timm.layers import BatchNormAct2d, LayerNormAct2d
from timm.layers.std_conv import ScaledStdConv2d
from torch import Tensor, nn
from torch.func import functional_call
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
from transformers.pytorch_utils import Conv1D

from taskfold.interventions import Beside, Change, Intervention, Mix, Scale, ScaleInput, SqueezeExcite
from taskfold.kinds import LayerKind, WeightKind, kind_of

from ..layers.cases import Reader, Words

Tensors = Mapping[str, Tensor]
Shapes = dict[str, tuple[int, ...]]
Run = Callable[..., object]


class Attention(nn.Module):
    """Torch's attention on one input."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x, x)[0]


@dataclass(frozen=True)
class Layer:
    """A layer in a network, and an input of the network without its batch."""

    name: str
    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    path: str = "0"
    axis: int = -1
    """Of the channels in its output."""

    def network(self) -> nn.Module:
        network = nn.Sequential(self.build()).double().eval()
        with torch.no_grad():
            for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
                if tensor.is_floating_point():
                    tensor.normal_(std=0.5)
                if name.endswith("running_var"):
                    tensor.square_().add_(0.5)
        return network

    def kind(self) -> LayerKind:
        return kind_of(self.network().get_submodule(self.path))


LAYERS = [
    Layer("linear", lambda: nn.Linear(7, 5), (7,)),
    Layer("linear-tokens", lambda: nn.Linear(7, 5, bias=False), (3, 7)),
    Layer("transformers-conv1d", lambda: Conv1D(5, 7), (3, 7)),
    Layer("conv", lambda: nn.Conv2d(4, 6, 3, stride=2, padding=1), (4, 7, 6), axis=1),
    Layer("conv-1d", lambda: nn.Conv1d(4, 6, 1, bias=False), (4, 5), axis=1),
    Layer("conv-3d", lambda: nn.Conv3d(2, 3, 2), (2, 3, 3, 4), axis=1),
    Layer("conv-groups", lambda: nn.Conv2d(4, 6, 3, groups=2), (4, 5, 5), axis=1),
    Layer("conv-standardised", lambda: ScaledStdConv2d(4, 6, 3, padding=1), (4, 5, 5), axis=1),
    Layer("transposed", lambda: nn.ConvTranspose2d(4, 6, 2, stride=2, bias=False), (4, 3, 4), axis=1),
    Layer("transposed-groups", lambda: nn.ConvTranspose2d(4, 6, 3, groups=2), (4, 3, 4), axis=1),
    Layer("embedding", Words, (4,), "0.table"),
    Layer("batch-norm", lambda: nn.BatchNorm2d(4), (4, 3, 5), axis=1),
    Layer("batch-norm-1d", lambda: nn.BatchNorm1d(4), (4,), axis=1),
    Layer("batch-norm-act", lambda: BatchNormAct2d(4), (4, 3, 5), axis=1),
    Layer("layer-norm", lambda: nn.LayerNorm(6), (3, 6)),
    Layer("layer-norm-no-bias", lambda: nn.LayerNorm(6, bias=False), (3, 6)),
    Layer("layer-norm-act", lambda: LayerNormAct2d(6), (6, 3, 2), axis=1),
    Layer("group-norm", lambda: nn.GroupNorm(2, 6), (6, 3, 5), axis=1),
    Layer("rms-norm", lambda: nn.RMSNorm(6), (3, 6)),
    Layer("gemma-norm", lambda: GemmaRMSNorm(6), (3, 6)),
    Layer("torch-attention", Attention, (5, 8), "0.attention"),
    Layer("lstm", lambda: Reader(nn.LSTM), (3, 5), "0.reader"),
]


@dataclass(frozen=True)
class Case:
    """An intervention.

    Attributes:
        slots: the tensors that it needs at a layer, for a task of that size; empty: it does not fit there.
        around: (module, what stands inside, tensors, axis of channels) → the formula.
        unfolded: layers of the table that it can't be folded into, and why.
    """

    name: str
    intervention: Intervention
    slots: Callable[[LayerKind, int], Shapes]
    around: Callable[[nn.Module, Run, Tensors, int], Run]
    unfolded: Mapping[str, str]

    def __str__(self) -> str:
        return self.name


def _copies(kind: LayerKind, size: int) -> Shapes:
    own = {name: tensor for name, tensor in kind.tensors().items() if isinstance(tensor, nn.Parameter)}
    return {name: tuple(tensor.shape) for name, tensor in own.items() if "." not in name}


def _bias(kind: LayerKind, size: int) -> Shapes:
    return {"bias": (kind.modes.shape[0],)} if isinstance(kind, WeightKind) and kind.has_bias else {}


def _changed(module: nn.Module, inner: Run, tensors: Tensors, axis: int) -> Run:
    return lambda *args, **kwargs: functional_call(module, dict(tensors), args, kwargs)


def _addend(kind: LayerKind, size: int) -> Shapes:
    return {f"{name}:added": shape for name, shape in _bias(kind, size).items()}


def _summed(module: nn.Module, inner: Run, tensors: Tensors, axis: int) -> Run:
    own, added = getattr(module, "bias", None), tensors["bias:added"]
    return lambda *args, **kwargs: functional_call(
        module, {"bias": added if own is None else own + added}, args, kwargs
    )


def _bottleneck(kind: LayerKind, size: int) -> Shapes:
    if not (isinstance(kind, WeightKind) and kind.additive):
        return {}
    out, inp, *kernel = kind.modes.shape
    return {"up": (out, size), "down": (size, inp, *kernel)}


def _with_spatial(kind: LayerKind, size: int) -> Shapes:
    shapes = _bottleneck(kind, size)
    if len(shapes.get("down", ())) < 3:
        return {}
    return {"up": shapes["up"], "down": shapes["down"][:2], "spatial": (size, *shapes["down"][2:])}


def _beside(module: nn.Module, inner: Run, tensors: Tensors, axis: int) -> Run:
    if "spatial" in tensors:
        delta = torch.einsum("or,ri,r...->oi...", tensors["up"], tensors["down"], tensors["spatial"])
    else:
        delta = torch.einsum("or,ri...->oi...", tensors["up"], tensors["down"])
    turned = isinstance(module, (Conv1D, nn.Embedding, nn.ConvTranspose2d))
    mine = {"weight": delta.transpose(0, 1) if turned else delta}
    if getattr(module, "bias", None) is not None:
        mine["bias"] = torch.zeros_like(module.bias)  # type: ignore[arg-type]
    return lambda *args, **kwargs: inner(*args, **kwargs) + functional_call(module, mine, args, kwargs)  # type: ignore[operator]


def _channels(kind: LayerKind, size: int) -> Shapes:
    if kind.outputs is None:
        return {}
    return dict.fromkeys(("scale", "shift") if kind.has_bias else ("scale",), (kind.outputs,))


def _scaled(module: nn.Module, inner: Run, tensors: Tensors, axis: int) -> Run:
    def run(*args: object, **kwargs: object) -> Tensor:
        y: Tensor = inner(*args, **kwargs)  # type: ignore[assignment]
        last = y.transpose(axis, -1) * tensors["scale"] + tensors.get("shift", 0)
        return last.transpose(axis, -1)

    return run


def _inputs(kind: LayerKind, size: int) -> Shapes:
    channels = ScaleInput().channels(kind)
    return {} if channels is None else {"scale": (channels,)}


def _scaled_input(module: nn.Module, inner: Run, tensors: Tensors, axis: int) -> Run:
    return lambda x: inner((x.transpose(axis, -1) * tensors["scale"]).transpose(axis, -1))


def _mixed(kind: LayerKind, size: int) -> Shapes:
    if not isinstance(kind, WeightKind):
        return {}
    channels = kind.modes.shape[0]
    return {"mix": (channels, channels), **({"shift": (channels,)} if kind.has_bias else {})}


def _mixing(module: nn.Module, inner: Run, tensors: Tensors, axis: int) -> Run:
    def run(*args: object, **kwargs: object) -> Tensor:
        y: Tensor = inner(*args, **kwargs)  # type: ignore[assignment]
        last = y.transpose(axis, -1)
        return y + (last @ tensors["mix"].mT + tensors.get("shift", 0)).transpose(axis, -1)

    return run


def _squeezed(kind: LayerKind, size: int) -> Shapes:
    if not SqueezeExcite().stands_behind(kind):
        return {}
    out = kind.outputs
    assert out is not None
    return {"down": (size, out), "down_bias": (size,), "up": (out, size), "up_bias": (out,)}


def _squeezing(module: nn.Module, inner: Run, tensors: Tensors, axis: int) -> Run:
    def run(*args: object, **kwargs: object) -> Tensor:
        y: Tensor = inner(*args, **kwargs)  # type: ignore[assignment]
        squeezed = y.mean(tuple(range(2, y.dim()))) if y.dim() > 2 else y
        z = (squeezed @ tensors["down"].mT + tensors["down_bias"]).relu()
        gate = 2 * (z @ tensors["up"].mT + tensors["up_bias"]).sigmoid()
        return y * gate[(..., *[None] * (y.dim() - 2))]

    return run


GROUPS = r"has its channels in 2 groups"
CASES = [
    Case("change", Change(), _copies, _changed, {}),
    Case("change-bias", Change(), _bias, _changed, {}),
    Case("change-added", Change(), _addend, _summed, {}),
    Case("beside", Beside(), _bottleneck, _beside, {}),
    Case("beside-spatial", Beside(), _with_spatial, _beside, {}),
    Case(
        "mix",
        Mix(),
        _mixed,
        _mixing,
        {
            "conv-standardised": r"\(ScaledStdConv2d\) has a forward of its own",
            "conv-groups": GROUPS,
            "transposed-groups": GROUPS,
        },
    ),
    Case(
        "squeeze-excite",
        SqueezeExcite(),
        _squeezed,
        _squeezing,
        {layer.name: "a squeeze-and-excite stands behind this" for layer in LAYERS},
    ),
    Case("scale", Scale(), _channels, _scaled, {"conv-standardised": r"\(ScaledStdConv2d\) has a forward of its own"}),
    Case(
        "scale-input", ScaleInput(), _inputs, _scaled_input, {"conv-standardised": r"\(ScaledStdConv2d\) has a forward"}
    ),
]
PAIRS = [(case, layer) for case in CASES for layer in LAYERS if case.slots(layer.kind(), 1)]


class Formula(nn.Module):
    """A layer with interventions around it, inside out; a layer's own activation comes last."""

    def __init__(self, module: nn.Module, layer: Layer, stack: list[tuple[Case, Tensors]]) -> None:
        super().__init__()
        self.module, self.act = copy.deepcopy(module), getattr(module, "act", nn.Identity())
        if hasattr(module, "act"):
            self.module.act = nn.Identity()
        self.layer, self.stack = layer, stack

    def forward(self, *args: object, **kwargs: object) -> object:
        call: Run = self.module
        for case, tensors in self.stack:
            call = case.around(self.module, call, tensors, self.layer.axis)
        y = call(*args, **kwargs)
        return self.act(y) if isinstance(y, Tensor) else y


def formula(network: nn.Module, layer: Layer, stack: list[tuple[Case, Tensors]]) -> nn.Module:
    """The network with interventions at its layer, by the book."""
    oracle = copy.deepcopy(network)
    oracle.set_submodule(layer.path, Formula(network.get_submodule(layer.path), layer, stack))
    return oracle
