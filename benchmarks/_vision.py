"""What `vision.py` times with one task: training steps and inference, random weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from _peers import CLASSES, HERE, RANK, Plain, backbone, is_transformer, lycoris, own, peft_lora, sites
from torch import Tensor, nn

import taskfold as tfold

Step = Callable[[], None]
LIMIT, PLAIN = "normalisation and head (limit)", "plain network"
KEPT = "the limit, statistics kept"


class Kept(Plain):
    """BatchNorm takes the network's statistics in training too."""

    def train(self, mode: bool = True) -> Kept:
        super().train(mode)
        for module in self.body.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.train(False)
        return self


def by_statistics(network: str) -> dict[str, Callable[[], nn.Module]]:
    """FTN with the network's statistics and with its own, and the limit of each."""
    methods = {
        f"FTN R={RANK}, statistics {name}": tfold.FTN(rank=RANK, statistics=name)  # type: ignore[arg-type]
        for name in ("backbone", "own")
    }
    ours = {name: partial(_ours, network, "auto", method) for name, method in methods.items()}
    return {LIMIT: lambda: Plain(network), KEPT: lambda: Kept(network), **ours}


def _ours(network: str, execution: str, method: tfold.Method | None = None) -> nn.Module:
    model = tfold.MultiTask(backbone(network), method or own(network), execution=execution)  # type: ignore[arg-type]
    model.add_task("task", head=CLASSES)
    return model.for_task("task")


def _named(network: str) -> str:
    return f"LoRA r={RANK}" if is_transformer(network) else f"FTN R={RANK}"


def trained(network: str) -> dict[str, Callable[[], nn.Module]]:
    """Who trains; LyCORIS' core is one of convolutions."""
    ours, paper = _named(network), "all materialised" if is_transformer(network) else "the paper's way"
    methods: dict[str, Callable[[], nn.Module]] = {
        LIMIT: lambda: Plain(network),
        "full fine-tuning": lambda: Plain(network).requires_grad_(True),
        ours: lambda: _ours(network, "auto"),
        f"{ours}, {paper}": lambda: _ours(network, "materialised"),
        f"{ours}, all factored": lambda: _ours(network, "factored"),
    }
    if "peft" in HERE:
        methods[f"PEFT LoRA r={RANK}"] = lambda: peft_lora(network)
    return methods if is_transformer(network) else methods | _lycoris(network) | _ungrouped(network)


def _ungrouped(network: str) -> dict[str, Callable[[], nn.Module]]:
    """FTN on the layers that PEFT takes, where there are others."""
    some, all_of_them = sites(network, grouped=False), sites(network)
    if some == all_of_them:
        return {}
    left_out = tuple(f"!{path.removeprefix('body.')}" for path in all_of_them if path not in some)
    method = tfold.FTN(rank=RANK, targets=("*", *left_out))
    return {f"FTN R={RANK}, on PEFT's layers": lambda: _ours(network, "auto", method)}


def _lycoris(network: str) -> dict[str, Callable[[], nn.Module]]:
    if "lycoris" not in HERE:
        return {}
    return {
        f"LyCORIS Tucker r={RANK}": lambda: lycoris(network, bypass=False),
        f"LyCORIS Tucker r={RANK}, bypass": lambda: lycoris(network, bypass=True),
    }


def training(network: str, rows: int, size: int, name: str) -> Step:
    """Forward, loss and backward; optimisers differ in parameters alone."""
    return stepped(trained(network)[name](), rows, size)


def stepped(model: nn.Module, rows: int, size: int) -> Step:
    """A training step of any model."""
    model.train()
    x, wanted = torch.randn(rows, 3, size, size), torch.arange(rows) % CLASSES
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def run() -> None:
        F.cross_entropy(model(x), wanted).backward()
        for parameter in learned:
            parameter.grad = None

    return run


def inference(network: str, rows: int, size: int) -> dict[str, Step]:
    """One task: as it is, in one form everywhere, folded; the peers of the same rank, not merged."""
    plain, x, ours = Plain(network).eval(), torch.randn(rows, 3, size, size), _named(network)
    models: dict[str, nn.Module] = {PLAIN: plain}
    if "peft" in HERE:
        models[f"PEFT LoRA r={RANK}"] = peft_lora(network).eval()
    if not is_transformer(network):
        models |= {name: build().eval() for name, build in (_lycoris(network) | _ungrouped(network)).items()}
    for form in ("auto", "factored", "merged"):
        models[ours if form == "auto" else f"{ours}, all {form}"] = _ours(network, form).eval()
    model = tfold.MultiTask(backbone(network), own(network)).eval()
    model.add_task("task", head=CLASSES)
    models[f"{ours}, folded"] = model.fold("task").eval()
    return {name: served(model, x) for name, model in models.items()}


def served(model: Callable[[Tensor], object], x: Tensor) -> Step:
    def run() -> None:
        with torch.inference_mode():
            model(x)

    return run
