"""Refused adapters, and many adapters at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import taskfold as tfold
from taskfold.peft import AdapterError

Written = Callable[..., Path]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(6, 6)
        self.wide = nn.Conv1d(6, 6, 3, padding=1, dilation=2)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).relu())


def net() -> nn.Module:
    torch.manual_seed(0)
    return Net()


def write(folder: Path, config: dict[str, Any], tensors: dict[str, Tensor]) -> Path:
    """A folder as PEFT writes it."""
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", **config}))
    around = "" if "num_virtual_tokens" in config else "base_model.model."
    save_file(
        {f"{around}{name}": one.contiguous() for name, one in tensors.items()},
        folder / "adapter_model.safetensors",
    )
    return folder


def lora(rank: int = 2) -> dict[str, Tensor]:
    return {"body.lora_A.weight": torch.randn(rank, 6), "body.lora_B.weight": torch.randn(6, rank)}


@pytest.mark.parametrize(
    ("config", "tensors", "words"),
    [
        ({"peft_type": "BOFT"}, {}, "no method that does what BOFT does; it reads FOURIERFT, .*LORA.*merge_and"),
        ({"peft_type": 3}, {}, "names no peft_type"),
        ({"layer_replication": [[0, 1]]}, {}, r"LORA has layer_replication=\[\[0, 1\]\], which Taskfold does not know"),
        ({"lora_bias": True}, {}, "LORA has lora_bias=True"),
        ({"target_parameters": ["mlp.experts"]}, {}, r"LORA has target_parameters=\['mlp.experts'\]"),
        ({"trainable_token_indices": [3]}, {}, r"LORA has trainable_token_indices=\[3\]"),
        ({"alora_invocation_tokens": [3]}, {}, r"LORA has alora_invocation_tokens=\[3\]"),
        ({"ensure_weight_tying": True}, {}, "LORA has ensure_weight_tying=True"),
        ({"init_lora_weights": "olora"}, {}, "init_lora_weights='olora' changes the backbone too"),
        ({"new_field": 0.5}, {}, "LORA has new_field=0.5"),
        ({"init_lora_weights": "pissa"}, {}, "init_lora_weights='pissa' changes the backbone too"),
        ({"r": 0}, {}, "r must be a whole number ≥ 1, found 0"),
        ({"rank_pattern": {"(": 2}}, {}, "rank_pattern has '\\(', which is no regular expression"),
        ({"r": 3}, {}, r"body.lora_A.weight has shape \[2, 6\], and this backbone needs \[3, 6\]"),
        ({"lora_alpha": "a"}, {}, "lora_alpha must be a finite number > 0, found 'a'"),
        ({"use_dora": True}, {}, "layer 'body' has tensors .*, and LoRA needs .*lora_magnitude_vector"),
        ({}, {"nose.lora_A.weight": torch.ones(2, 6)}, "the backbone has no layer 'nose'"),
        ({}, {"wide.lora_A.weight": torch.ones(2, 6, 3)}, r"layer 'wide' has dilation=\(2,\)"),
        ({}, {"other.weight": torch.ones(2)}, "tensor 'other.weight' belongs to nothing that this backbone has"),
        ({}, {"head.weight": torch.ones(4, 6)}, r"'head.weight' has shape \[4, 6\], and the backbone's \[3, 6\]"),
        ({}, {"body.base_layer.weight": torch.ones(6, 6)}, "made on another 'body.weight' than this backbone has"),
        ({}, {"body.lora_A.bias": torch.ones(2)}, "tensor 'body.lora_A.bias' belongs to nothing"),
        ({"peft_type": "IA3"}, {}, "holds no layer of IA3"),
        ({"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 2, "task_type": "SEQ_CLS"}, None, "task_type='SEQ_CLS'"),
        ({"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 2}, None, "PREFIX_TUNING of 'Net'"),
    ],
)
def test_what_taskfold_cannot_do_is_refused_by_name(
    config: dict[str, Any], tensors: dict[str, Tensor] | None, words: str, tmp_path: Path
) -> None:
    held = {"prompt_embeddings": torch.ones(2, 6)} if tensors is None else lora() | tensors
    if config.get("peft_type", "LORA") == "LORA":
        config = {"r": 2, **config}
    elif tensors is not None:
        held = {}
    model = tfold.MultiTask(net())
    with pytest.raises(AdapterError, match=words):
        model.load_peft(write(tmp_path / "one", config, held))
    assert not list(model.tasks) and not list(model.inventory)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    folder = write(tmp_path / "one", {}, lora())
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(FileNotFoundError, match="is a pickle, which is not read"):
        tfold.MultiTask(net()).load_peft(folder)
    (folder / "adapter_model.safetensors").write_bytes(b"no")
    with pytest.raises(AdapterError, match="truncated or no safetensors file"):
        tfold.MultiTask(net()).load_peft(folder)


def test_adapters_in_folders_of_a_folder_are_named(tmp_path: Path) -> None:
    for name in ("fr", "de"):
        write(tmp_path / name, {"r": 2}, lora())
    with pytest.raises(FileNotFoundError, match="its folders have adapters of their own, give one: de, fr"):
        tfold.MultiTask(net()).load_peft(tmp_path)


def test_a_hundred_adapters_answer_in_one_batch(tmp_path: Path) -> None:
    model = tfold.MultiTask(net()).eval()
    torch.manual_seed(1)
    for n in range(100):
        rank = 1 + n % 4
        model.load_peft(write(tmp_path / f"a{n}", {"r": rank, "lora_alpha": 1 + n % 3}, lora(rank)))
    x, names = torch.randn(100, 6), list(model.tasks)
    with torch.no_grad():
        alone = torch.cat([model(x[n : n + 1], task=name) for n, name in enumerate(names)])
        bank = model.bank()
        torch.testing.assert_close(torch.stack(list(bank(x, task=names))), alone, rtol=1e-5, atol=1e-5)
        tensors, net_ = load_file(tmp_path / "a7" / "adapter_model.safetensors"), net()
        weight = tensors["base_model.model.body.lora_B.weight"] @ tensors["base_model.model.body.lora_A.weight"]
        net_.body.weight.add_(weight * (1 + 7 % 3) / (1 + 7 % 4))  # type: ignore[union-attr, operator]
        torch.testing.assert_close(alone[7], net_(x[7]), rtol=1e-5, atol=1e-5)


def test_tensors_that_are_the_backbones_are_no_tasks(tmp_path: Path) -> None:
    state = net().state_dict()
    same = {"body.base_layer.weight": state["body.weight"], "head.weight": state["head.weight"]}
    task = tfold.MultiTask(net()).load_peft(write(tmp_path / "one", {"r": 2}, lora() | same))
    assert task.counts() == {"factors": 24, "routing": 0, "norm": 0, "head": 0}
    assert task.method["settings"]["own"] is None
