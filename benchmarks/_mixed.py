"""What `vision.py` times with many tasks in one batch: a bank beside what PEFT and adapters have for it."""

from __future__ import annotations

import logging

import torch
from _networks import SIZES, Load
from _networks import network as t5
from _peers import CLASSES, HERE, RANK, Plain, backbone, own, peft_loras
from _vision import PLAIN, Step, served
from torch import nn
from transformers import ViTConfig, ViTModel

import taskfold as tfold

if "adapters" in HERE:
    from adapters import LoRAConfig, ViTAdapterModel
    from adapters.composition import BatchSplit
if "peft" in HERE:
    from peft import LoraConfig, get_peft_model

VIT = ViTConfig(hidden_size=192, num_hidden_layers=12, num_attention_heads=3, intermediate_size=768)
logging.getLogger("adapters").setLevel(logging.ERROR)


def timm(network: str, tasks: int, size: int) -> dict[str, Step]:
    """Every row has its own task: normalisation and heads of 10 to 41 classes included, but not with PEFT."""
    model = tfold.MultiTask(backbone(network), own(network)).eval()
    names = _names(tasks)
    for n, name in enumerate(names):
        model.add_task(name, head=CLASSES + n)
    bank, x, plain = model.bank(), torch.randn(tasks, 3, size, size), Plain(network).eval()
    index = bank.index(names)
    found = {
        PLAIN: served(plain, x),
        "bank": served(lambda x: bank(x, index), x),
        "bank, by names": served(lambda x: bank(x, task=names), x),
        "MultiTask": served(lambda x: model(x, task=names), x),
    }
    if "peft" in HERE:
        peft = peft_loras(network, names)
        found["PEFT, LoRA alone is the task's"] = served(lambda x: peft(x, adapter_names=names), x)
    return found


def hugging_face(tasks: int, size: int) -> dict[str, Step]:
    """A ViT-Ti of Hugging Face: LoRA on query and value, which is what adapters' takes by default."""
    names, x = _names(tasks), torch.randn(tasks, 3, size, size)
    model = tfold.MultiTask(_vit(), tfold.LoRA(rank=RANK, layers="linear", targets=("*query", "*value"))).eval()
    theirs = ViTAdapterModel(VIT)
    for name in names:
        model.add_task(name, head=CLASSES)
        theirs.add_adapter(name, config=LoRAConfig(r=RANK, alpha=RANK))
        theirs.add_image_classification_head(name, num_labels=CLASSES, layers=1)
    theirs.set_active_adapters(BatchSplit(*names, batch_sizes=[1] * tasks))
    theirs.eval()
    config = LoraConfig(r=RANK, lora_alpha=RANK, target_modules=["query", "value"], inference_mode=True)
    peft = get_peft_model(_vit(), config, adapter_name=names[0])
    for name in names[1:]:
        peft.add_adapter(name, config)
    peft.eval()
    bank, plain, head = model.bank(), _vit(), nn.Linear(VIT.hidden_size, CLASSES)
    index = bank.index(names)
    return {
        PLAIN: served(lambda x: head(plain(x).pooler_output), x),
        "bank": served(lambda x: bank(x, index), x),
        "MultiTask": served(lambda x: model(x, task=names), x),
        "adapters, BatchSplit": served(lambda x: theirs(pixel_values=x), x),
        "PEFT, one head": served(lambda x: head(peft(x, adapter_names=names).pooler_output), x),
    }


def text(tasks: int, tokens: int) -> dict[str, Step]:
    """A small T5, no heads: LoRA on queries and values."""
    names, size, load = _names(tasks), SIZES["t5-small"], Load(tasks, tokens, "grouped")
    inputs, plain = load.inputs(), t5(size).eval()
    model = tfold.MultiTask(t5(size), tfold.LoRA(rank=RANK, layers="linear", targets=("*.q", "*.v"))).eval()
    for name in names:
        model.add_task(name)
    config = LoraConfig(
        r=RANK, lora_alpha=RANK, target_modules=["q", "v"], task_type="SEQ_2_SEQ_LM", inference_mode=True
    )
    peft = get_peft_model(t5(size), config, adapter_name=names[0])
    for name in names[1:]:
        peft.add_adapter(name, config)
    peft.eval()
    bank = model.bank()
    index = bank.index(names)
    x = inputs.pop("input_ids")
    return {
        PLAIN: served(lambda x: plain(input_ids=x, **inputs), x),
        "bank": served(lambda x: bank(input_ids=x, index=index, **inputs), x),
        "MultiTask": served(lambda x: model(input_ids=x, task=names, **inputs), x),
        "PEFT": served(lambda x: peft(input_ids=x, adapter_names=names, **inputs), x),
    }


def _vit() -> nn.Module:
    torch.manual_seed(0)
    return ViTModel(VIT).eval()


def _names(tasks: int) -> list[str]:
    return [f"task{n}" for n in range(tasks)]
