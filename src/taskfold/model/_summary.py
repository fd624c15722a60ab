"""Summaries: the layers that a task adapts, by block, and why it leaves others alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from ..kinds import AnyLayer, Attention, Convolution, LayerKind, Linear, Recurrent, kind_of, matches
from ..layers import frozen, inventory_of, layers_of, output_layer, scope_of, units
from ..methods import Method, method_of
from ..tasks import Task

FAMILIES = {
    Linear: "linear layers",
    Attention: "linear layers",
    Convolution: "convolutions",
    Recurrent: "recurrent layers",
}
"""Plural names of the kinds of layers whose weights methods update."""


@dataclass(frozen=True)
class Layer:
    """A layer of the backbone with parameters of its own.

    Attributes:
        path: the layer's name.
        kind: in words.
        family: the plural name of layers with such weights; None: no method updates its parameters.
        adapted: the task's interventions there (`beside`, `change`, …); empty: none.
        why: why the task leaves the layer alone; empty if it does not.
        backbone: parameters of the layer.
        numbers: parameters of the task there.
    """

    path: str
    kind: str
    family: str | None
    adapted: str
    why: str
    backbone: int
    numbers: int


@dataclass(frozen=True)
class SummaryRow:
    """The layers of one block with the same kind and interventions.

    Attributes:
        block: name of the block, or of a layer outside of blocks.
        layers: number of layers.
        kind, adapted, why: see `Layer`.
        backbone: parameters of the backbone in these layers.
        numbers: the task's own parameters there, without shared ones.
    """

    block: str
    layers: int
    kind: str
    adapted: str
    why: str
    backbone: int
    numbers: int


@dataclass(frozen=True)
class Summary:
    """The summary of a task; `print` shows a table.

    Attributes:
        task: the task's name.
        method: name of its method.
        network: class of the backbone.
        backbone: parameters of the backbone.
        reached: those of them in adapted layers.
        numbers: the task's own parameters, without its head.
        head: parameters of its head.
        shared: parameters of the model's inventory that the task uses.
        rows: in the order of the network.
    """

    task: str
    method: str
    network: str
    backbone: int
    reached: int
    numbers: int
    head: int
    shared: int
    rows: tuple[SummaryRow, ...]

    def as_json(self) -> dict[str, Any]:
        """The summary as JSON."""
        return {**asdict(self), "rows": [asdict(row) for row in self.rows]}

    def __str__(self) -> str:
        share = f"{self.reached / self.backbone:.1%}" if self.backbone else "none"
        lines = [
            f"task {self.task!r} ({self.method}) on {self.network}: adapts layers with {self.reached:,} of "
            f"{self.backbone:,} parameters ({share}) by {self.numbers:,} numbers of its own"
            + f", {self.shared:,} shared ones" * bool(self.shared)
            + f", and has a head of {self.head:,}" * bool(self.head)
        ]
        table = [("block", "layers", "parameters", "of the task", "adapted")]
        table += [
            (r.block, f"{r.layers} × {r.kind}", f"{r.backbone:,}", f"{r.numbers:,}", r.adapted or f"no: {r.why}")
            for r in self.rows
        ]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        for block, layers, backbone, numbers, adapted in table:
            cells = (block.ljust(widths[0]), layers.ljust(widths[1]), backbone.rjust(widths[2]))
            lines.append("  ".join((*cells, numbers.rjust(widths[3]), adapted)))
        return "\n".join(lines)


def summarised(network: nn.Module, task: Task) -> Summary:
    rows: dict[tuple[str, ...], list[Layer]] = {}
    every = list(layers_in(network, task, method_of(task)))
    for layer in every:
        rows.setdefault((scope_of("block", layer.path), layer.kind, layer.adapted, layer.why), []).append(layer)
    found = tuple(
        SummaryRow(
            block or "(network)",
            len(layers),
            kind,
            adapted,
            why,
            sum(layer.backbone for layer in layers),
            sum(layer.numbers for layer in layers),
        )
        for (block, kind, adapted, why), layers in rows.items()
    )
    return Summary(
        task.name,
        task.method["name"],
        type(network).__name__,
        sum(p.numel() for p in network.parameters()),
        sum(layer.backbone for layer in every if layer.adapted),
        sum(layer.numbers for layer in every),
        0 if task.head is None else sum(p.numel() for p in task.head.parameters()),
        sum(leaf.numel() for leaf in {id(leaf): leaf for leaf in inventory_of(task).values()}.values()),
        found,
    )


def layers_in(network: nn.Module, task: Task, method: Method) -> Iterator[Layer]:
    """The layers of a network that have parameters or that the task adapts, in the network's order."""
    sites = dict(layers_of(task))
    words = _words(network, sites, method)
    counted: set[int] = set()

    def numbers(parameters: Iterator[nn.Parameter]) -> int:
        new = {id(p): p.numel() for p in parameters if id(p) not in counted}
        counted.update(new)
        return sum(new.values())

    for path, module in units(network):
        kind = kind_of(module)
        own = module.parameters(recurse=isinstance(kind, Attention))
        if path not in sites and not any(p is not None for p in module._parameters.values()):
            continue
        parts = sites.get(path)
        adapted = dict.fromkeys(type(part.intervention).__name__.lower() for _, part in parts or ())
        yield Layer(
            path,
            type(module).__name__ if isinstance(kind, AnyLayer) else kind.words,
            family_of(kind, module),
            " and ".join(adapted),
            "" if adapted else words(path, module, kind),
            numbers(own),
            0 if parts is None else numbers(parts.parameters()),
        )


def family_of(kind: LayerKind, module: nn.Module) -> str | None:
    """The plural name of layers with such weights; None: its parameters are no weights of a known layer."""
    known = next((words for type_, words in FAMILIES.items() if isinstance(kind, type_)), None)
    if known is None and isinstance(kind, AnyLayer) and any(p.dim() > 1 for p in module.parameters(recurse=False)):
        return f"modules of the class {type(module).__name__}"
    return known


def _words(network: nn.Module, sites: dict[str, Any], method: Method) -> Any:
    """A function that returns why a layer is left alone."""
    before = frozen(network, method.frozen_stages)
    output = output_layer(network)
    first = next((m for _, m in units(network) if isinstance(kind_of(m), Convolution)), None)
    found = (family_of(kind_of(m := network.get_submodule(path)), m) for path in sites)
    reached = dict.fromkeys(family for family in found if family is not None)

    def words(path: str, module: nn.Module, kind: LayerKind) -> str:
        if path in before:
            return f"in frozen stages (frozen_stages={method.frozen_stages})"
        if not matches(path, getattr(method, "targets", "*")):
            return "targets leave it out"
        if module is output:
            return "output layer of a language model"
        outer = next((outer for outer in sites if outer and path.startswith(f"{outer}.")), None)
        if outer is not None:
            return f"{method.name} acts at {outer}"
        family = family_of(kind, module)
        if family is not None and reached and family not in reached:
            return f"{method.name} adapts {' and '.join(reached)}"
        if module is first and not getattr(method, "stem", True):
            return "first convolution (stem=False)"
        chosen = getattr(method, "layers", None)
        setting = f"layers={chosen!r}" if isinstance(chosen, str) else method.name
        return f"{setting} does not select it"

    return words
