"""Attention projections as d_model × d × n tensors (FTN, section III.B), in the spellings found in the wild."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from ..factors import Modes
from ._where import Target, View, Where, own_weight, units

PROJECTIONS = ("query", "key", "value", "output")

# Child names of the separate projections (Hugging Face, timm's EVA, diffusers, DistilBERT, T5).
_SPELLINGS = {
    "query": ("query", "q_proj", "q", "q_lin", "to_q"),
    "key": ("key", "k_proj", "k", "k_lin", "to_k"),
    "value": ("value", "v_proj", "v", "v_lin", "to_v"),
    "output": ("o_proj", "out_proj", "proj", "o", "out_lin", "to_out.0"),
}
_HEADS = ("num_heads", "num_attention_heads", "n_heads", "n_head", "heads")
_HEAD_SIZES = ("head_dim", "attention_head_size", "key_value_proj_dim")


@dataclass(frozen=True)
class Attention(Where):
    """Projections of every attention block: `nn.MultiheadAttention`, timm's fused `qkv`, separate linears.

    Query, key and value put the heads on the output side, `weight.view(n, d, d_model)`; the output projection on
    the input side, `weight.view(d_model, n, d)`.

    Args:
        projections: any of query, key, value, output.

    Raises:
        ValueError: a projection is not one of these.
    """

    what: ClassVar[str] = "attention to adapt"
    projections: tuple[str, ...] = ("query", "value")

    def __post_init__(self) -> None:
        for projection in self.projections:
            if projection not in PROJECTIONS:
                raise ValueError(f"projections holds {projection!r}; allowed are {', '.join(PROJECTIONS)}")
        if not self.projections:
            raise ValueError(f"projections is empty; choose some of {', '.join(PROJECTIONS)}")

    def candidates(self, network: nn.Module) -> list[Target]:
        views: dict[str, list[View]] = {}
        modules = dict(units(network))
        for path, module in modules.items():
            for target, view in _projections(path, module, modules):
                if view.name in self.projections:
                    views.setdefault(target, []).append(view)
        return [Target(path, tuple(found)) for path, found in views.items()]


def _projections(path: str, module: nn.Module, modules: dict[str, nn.Module]) -> Iterator[tuple[str, View]]:
    if isinstance(module, nn.MultiheadAttention):
        yield from ((path, view) for view in _torch_attention(module))
        return
    children = {name: modules[_join(path, name)] for name in _names(path, module, modules)}
    size = _head_size(module, children)
    if size is None:
        return
    fused = children.get("qkv")
    if isinstance(fused, nn.Linear):
        width = fused.out_features // 3
        for n, name in enumerate(PROJECTIONS[:3]):
            modes = Modes(_heads(path, "qkv", width, size), (fused.in_features,))
            yield _join(path, "qkv"), View(name, "weight", (n * width, (n + 1) * width), modes)
    elif not any(name in children for name in _SPELLINGS["query"]):
        return
    for name, spellings in _SPELLINGS.items():
        found = next((_join(path, s) for s in spellings if isinstance(children.get(s), nn.Linear)), None)
        if found is None and name == "output":  # BERT: attention.self.query … beside attention.output.dense
            beside = _join(path.rpartition(".")[0], "output.dense")
            found = beside if isinstance(modules.get(beside), nn.Linear) else None
        if found is not None:
            weight = own_weight(modules[found], found)
            out, inp = weight.shape
            if name == "output":
                modes = Modes((out,), _heads(path, found, inp, size))
            else:
                modes = Modes(_heads(path, found, out, size), (inp,))
            yield found, View(name, "weight", None, modes)


def _torch_attention(module: nn.MultiheadAttention) -> Iterator[View]:
    width, size = module.embed_dim, module.head_dim
    modes = Modes((width // size, size), (width,))
    if module.in_proj_weight is not None:
        for n, name in enumerate(PROJECTIONS[:3]):
            yield View(name, "in_proj_weight", (n * width, (n + 1) * width), modes)
    else:
        for name, inp in (("query", width), ("key", module.kdim), ("value", module.vdim)):
            yield View(name, f"{name[0]}_proj_weight", None, Modes(modes.out, (inp,)))
    yield View("output", "out_proj.weight", None, Modes((width,), modes.out))


def _names(path: str, module: nn.Module, modules: dict[str, nn.Module]) -> list[str]:
    spelled = [s for spellings in _SPELLINGS.values() for s in spellings]
    return [name for name in ("qkv", *spelled) if _join(path, name) in modules]


def _head_size(module: nn.Module, children: dict[str, nn.Module]) -> int | None:
    for name in _HEAD_SIZES:
        if isinstance(size := getattr(module, name, None), int):
            return size
    widths = [c.out_features for n in _SPELLINGS["query"] if isinstance(c := children.get(n), nn.Linear)]
    widths += [c.out_features // 3 for c in [children.get("qkv")] if isinstance(c, nn.Linear)]
    for name in _HEADS:
        if widths and isinstance(heads := getattr(module, name, None), int) and heads:
            return widths[0] // heads
    return None


def _heads(path: str, layer: str, width: int, size: int) -> tuple[int, int]:
    if width % size:
        raise ValueError(f"attention {path!r}: {layer} has {width} features, not a multiple of its head size {size}")
    return width // size, size


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
