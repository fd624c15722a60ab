"""Attention projections as d_model × d × n tensors (FTN, section III.B), by the names that common libraries use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from ..factors import Modes
from ..kinds import LayerKind, Linear, kind_of
from ._where import Linears, Target, View, Where, check_weight, units

PROJECTIONS = ("query", "key", "value", "output")

# Child names of the separate projections (Hugging Face, timm's EVA, diffusers, DistilBERT, T5).
_SPELLINGS = {
    "query": ("query", "q_proj", "q", "q_lin", "to_q", "q_attn"),
    "key": ("key", "k_proj", "k", "k_lin", "to_k"),
    "value": ("value", "v_proj", "v", "v_lin", "to_v"),
    "output": ("o_proj", "out_proj", "proj", "o", "out_lin", "to_out.0", "c_proj"),
}
_FUSED = ("qkv", "c_attn")
"""Query, key and value in one layer, in this order (timm, GPT-2)."""
_HEADS = ("num_heads", "num_attention_heads", "n_heads", "n_head", "heads")
_HEAD_SIZES = ("head_dim", "attention_head_size", "key_value_proj_dim")


@dataclass(frozen=True)
class Attention(Where):
    """Projections of every attention block: `nn.MultiheadAttention`, a fused `qkv` (timm) or `c_attn` (GPT-2), or
    separate linear layers.

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
            with suppress(_UnevenError):
                for target, view in [*_projections(path, module, modules)]:
                    if view.name in self.projections:
                        views.setdefault(target, []).append(view)
        return [Target(path, tuple(found)) for path, found in views.items()]


@dataclass(frozen=True)
class Matrices(Where):
    """Every linear layer, those of attention split into projections; a language model's output layer is left out."""

    what: ClassVar[str] = "linear layers to adapt"

    def candidates(self, network: nn.Module) -> list[Target]:
        found = {target.path: target for target in Linears().candidates(network)}
        found |= {target.path: target for target in Attention(projections=PROJECTIONS).candidates(network)}
        return [found[path] for path, _ in units(network) if path in found]


def _projections(path: str, module: nn.Module, modules: dict[str, nn.Module]) -> Iterator[tuple[str, View]]:
    if isinstance(module, nn.MultiheadAttention):
        yield from ((path, view) for view in _torch_attention(module))
        return
    children = {name: kind for name in _names(path, modules) if isinstance(kind := _kind(path, name, modules), Linear)}
    size = _head_size(module, children)
    if size is None:
        return
    if fused := next((name for name in _FUSED if name in children), None):
        out, inp = _sizes(children[fused])
        crosses = "q_attn" in children  # GPT-2 looking at an encoder: keys and values alone are in one layer
        inside = PROJECTIONS[1:3] if crosses else PROJECTIONS[:3]
        width = out // len(inside)
        heads = _head_count(module) or width // size
        if out != len(inside) * heads * size:  # keys and values alone, or fewer heads of these
            raise _UnevenError
        for n, name in enumerate(inside):
            modes = Modes((heads, size), (inp,))
            yield _join(path, fused), View(name, "weight", (n * width, (n + 1) * width), modes)
    elif not any(name in children for name in _SPELLINGS["query"]):
        return
    for name, spellings in _SPELLINGS.items():
        found = next((_join(path, s) for s in spellings if s in children), None)
        if found is None and name == "output":  # BERT: attention.self.query … beside attention.output.dense
            beside = _join(path.rpartition(".")[0], "output.dense")
            found = beside if beside in modules and isinstance(kind_of(modules[beside]), Linear) else None
        if found is not None:
            kind = kind_of(modules[found])
            check_weight(kind, found, "weight")
            out, inp = _sizes(kind)
            modes = Modes((out,), _heads(inp, size)) if name == "output" else Modes(_heads(out, size), (inp,))
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


def _names(path: str, modules: dict[str, nn.Module]) -> list[str]:
    spelled = [s for spellings in _SPELLINGS.values() for s in spellings]
    return [name for name in (*_FUSED, *spelled) if _join(path, name) in modules]


def _kind(path: str, name: str, modules: dict[str, nn.Module]) -> LayerKind:
    return kind_of(modules[_join(path, name)])


def _sizes(kind: LayerKind) -> tuple[int, int]:
    assert isinstance(kind, Linear)
    out, inp = kind.modes.shape
    return out, inp


def _head_size(module: nn.Module, children: Mapping[str, LayerKind]) -> int | None:
    for name in _HEAD_SIZES:
        if isinstance(size := getattr(module, name, None), int):
            return size
    widths = [_sizes(children[name])[0] for name in _SPELLINGS["query"] if name in children]
    widths += [_sizes(children[name])[0] // 3 for name in _FUSED if name in children]
    heads = _head_count(module)
    return widths[0] // heads if widths and heads else None


def _head_count(module: nn.Module) -> int | None:
    return next((n for name in _HEADS if isinstance(n := getattr(module, name, None), int) and n), None)


class _UnevenError(Exception):
    """A projection is no multiple of the head's size: what looks like attention is something else."""


def _heads(width: int, size: int) -> tuple[int, int]:
    if width % size:
        raise _UnevenError
    return width // size, size


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
