"""What `vision.py` times: methods on convolutional networks and vision transformers, random weights."""

from __future__ import annotations

from collections.abc import Callable

import timm
import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn

import taskfold as tfold

Step = Callable[[], None]
CLASSES, RANK = 10, 8
LIMIT, PLAIN = "normalisation and head (limit)", "plain network"


class Plain(nn.Module):
    """A backbone and a head: all frozen but normalisation and head."""

    def __init__(self, network: str) -> None:
        super().__init__()
        self.body = backbone(network)
        self.head = nn.Linear(self.body.num_features, CLASSES)
        for name, parameter in self.body.named_parameters():
            parameter.requires_grad_(_is_norm(self.body, name))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


def backbone(network: str) -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model(network, num_classes=0)


def _is_norm(module: nn.Module, name: str) -> bool:
    return isinstance(module.get_submodule(name.rpartition(".")[0]), (nn.BatchNorm2d, nn.LayerNorm))


def _lora(network: str) -> nn.Module:
    """PEFT's LoRA on the convolutions that FTN adapts, normalisation and head trained too."""
    plain = Plain(network)
    found = [name for name, module in plain.named_modules() if isinstance(module, nn.Conv2d) and module.groups == 1]
    trained = [name for name, parameter in plain.named_parameters() if parameter.requires_grad]
    model = get_peft_model(plain, LoraConfig(r=RANK, target_modules=found[1:]))
    for name, parameter in model.named_parameters():
        if name.removeprefix("base_model.model.") in trained:
            parameter.requires_grad_(True)
    return model


def _ftn(network: str, execution: str) -> nn.Module:
    model = tfold.MultiTask(backbone(network), tfold.FTN(rank=RANK), execution=execution)  # type: ignore[arg-type]
    model.add_task("task", head=CLASSES)
    return model.for_task("task")


TRAINED: dict[str, Callable[[str], nn.Module]] = {
    LIMIT: Plain,
    "full fine-tuning": lambda network: Plain(network).requires_grad_(True),
    "FTN R=8": lambda network: _ftn(network, "auto"),
    "FTN R=8, the paper's way": lambda network: _ftn(network, "materialised"),
    "FTN R=8, all factored": lambda network: _ftn(network, "factored"),
    "PEFT LoRA r=8": _lora,
}


def training(network: str, rows: int, size: int, name: str) -> Step:
    """Forward, loss and backward; optimisers differ in parameters alone."""
    model = TRAINED[name](network).train()
    x, wanted = torch.randn(rows, 3, size, size), torch.arange(rows) % CLASSES
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def run() -> None:
        F.cross_entropy(model(x), wanted).backward()
        for parameter in learned:
            parameter.grad = None

    return run


def inference(network: str, rows: int, size: int) -> dict[str, Step]:
    """One task: as it is, in one form everywhere, folded; PEFT's LoRA of the same rank."""
    plain, x = Plain(network).eval(), torch.randn(rows, 3, size, size)
    models = {PLAIN: plain, "PEFT LoRA r=8": _lora(network).eval()}
    for form in ("auto", "factored", "merged"):
        models["FTN R=8" if form == "auto" else f"FTN R=8, all {form}"] = _ftn(network, form).eval()
    model = tfold.MultiTask(backbone(network), tfold.FTN(rank=RANK)).eval()
    model.add_task("task", head=CLASSES)
    models["FTN R=8, folded"] = model.fold("task").eval()
    return {name: _served(model, x) for name, model in models.items()}


def mixed(network: str, tasks: int, size: int) -> dict[str, Step]:
    """A batch whose rows each have their own task: normalisation and heads of 10 to 41 classes included."""
    method = tfold.FTN(rank=RANK) if network.startswith("resnet") else tfold.LoRA(rank=RANK, norm=True)
    model = tfold.MultiTask(backbone(network), method).eval()
    names = [f"task{n}" for n in range(tasks)]
    for n, name in enumerate(names):
        model.add_task(name, head=CLASSES + n)
    bank, x, plain = model.bank(), torch.randn(tasks, 3, size, size), Plain(network).eval()
    index = bank.index(names)
    return {
        PLAIN: _served(plain, x),
        "bank": _served(lambda x: bank(x, index), x),
        "bank, by names": _served(lambda x: bank.outputs(x, task=names), x),
        "MultiTask": _served(lambda x: model(x, task=names), x),
    }


def _served(model: Callable[[Tensor], object], x: Tensor) -> Step:
    def run() -> None:
        with torch.inference_mode():
            model(x)

    return run
