"""The networks of `vision.py`, and the peers on them: plain, PEFT's LoRA, LyCORIS' convolution with a Tucker core."""

from __future__ import annotations

import logging
import re
from importlib.util import find_spec

import timm
import torch
from torch import Tensor, nn

import taskfold as tfold

HERE = frozenset(name for name in ("peft", "lycoris", "adapters") if find_spec(name))
"""The peers that are installed; the others are left out of every table."""
if "peft" in HERE:
    from peft import LoraConfig, PeftModel, get_peft_model
if "lycoris" in HERE:
    from lycoris import LycorisNetwork

CLASSES, RANK = 10, 8
logging.getLogger("LyCORIS").setLevel(logging.WARNING)


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


def is_transformer(network: str) -> bool:
    return network.startswith("vit")


def own(network: str) -> tfold.Method:
    """FTN on convolutional networks, LoRA on transformers; normalisation is the task's own in both."""
    return tfold.LoRA(rank=RANK, norm=True) if is_transformer(network) else tfold.FTN(rank=RANK)


def _is_norm(module: nn.Module, name: str) -> bool:
    return isinstance(module.get_submodule(name.rpartition(".")[0]), (nn.BatchNorm2d, nn.LayerNorm))


def sites(network: str, *, grouped: bool = True) -> list[str]:
    """The layers that our method adapts, so that peers adapt the same."""
    task = tfold.MultiTask(body := backbone(network), own(network)).add_task("task")
    found = {path: body.get_submodule(path) for path in dict(task.sites.named_children())}
    return [
        f"body.{path}"
        for path, module in found.items()
        if isinstance(module, (nn.Conv2d, nn.Linear)) and (grouped or getattr(module, "groups", 1) == 1)
    ]


def lora_config(network: str, rank: int = RANK) -> LoraConfig:
    """On the same layers but for convolutions of many groups, whose number PEFT wants the rank to be a multiple of."""
    return LoraConfig(r=rank, lora_alpha=rank, target_modules=sites(network, grouped=False))


def peft_lora(network: str) -> nn.Module:
    """Normalisation and head are trained too."""
    plain = Plain(network)
    trained = [name for name, parameter in plain.named_parameters() if parameter.requires_grad]
    model = get_peft_model(plain, lora_config(network))
    for name, parameter in model.named_parameters():
        if name.removeprefix("base_model.model.") in trained:
            parameter.requires_grad_(True)
    return model


def peft_loras(network: str, names: list[str], rank: int = RANK) -> PeftModel:
    """Several, to be served: normalisation and head are common to them."""
    config = lora_config(network, rank)
    config.inference_mode = True
    model = get_peft_model(Plain(network), config, adapter_name=names[0])
    for name in names[1:]:
        model.add_adapter(name, config)
    return model.eval()


def lycoris(network: str, bypass: bool) -> nn.Module:
    """LyCORIS' LoCon with a core; normalisation and head are trained too.

    Its own way is to build the weight of the update and to convolve with that; `bypass_mode` convolves three times,
    with down, core and up.
    """
    plain = Plain(network)
    names = [f"{re.escape(path)}$" for path in sites(network)]
    LycorisNetwork.apply_preset({"enable_conv": True, "target_module": [], "target_name": names})
    added = LycorisNetwork(
        plain,
        lora_dim=RANK,
        conv_lora_dim=RANK,
        alpha=RANK,
        conv_alpha=RANK,
        use_tucker=True,
        network_module="locon",
        bypass_mode=bypass,
    )
    assert len(added.loras) == len(names), "LyCORIS is to adapt the same layers"
    added.apply_to()
    plain.add_module("lycoris", added)
    return plain
