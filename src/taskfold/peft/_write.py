"""A task as an adapter of PEFT's: LORA, and whole modules saved beside it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from ..factors import Direction, LowRank
from ..files import check_inside, draft_of
from ..interventions import Beside
from ..kinds import Convolution, Embedding, Linear, TransformersConv1D, kind_of
from ..layers import SERVING, Copied, Factored, LayerParts, check_alike, forms_of, layers_of
from ..tasks import Task
from ._adapter import CONFIG, MODEL, AdapterError, oddities


@dataclass(frozen=True)
class LowRankUpdate:
    """A LoRA at a layer: ΔW = (alpha / rank) up · down.

    Attributes:
        down: `[r, I, *kernel]`.
        up: `[O, r]`.
        alpha: r for no scaling.
        magnitude: `[O]`, of DoRA; None: LoRA.
    """

    down: Tensor
    up: Tensor
    alpha: float
    magnitude: Tensor | None = None

    @property
    def rank(self) -> int:
        return len(self.down)

    def times(self, weight: float) -> LowRankUpdate:
        """The update times a number, which its `up` takes up."""
        return LowRankUpdate(self.down, self.up * (weight * self.alpha / self.rank), self.rank)


@torch.no_grad()
def write_adapter(task: Task, network: nn.Module, folder: Path, head: str | None) -> Path:
    """Write a task; `MultiTask.save_peft` says how.

    Raises:
        AdapterError: PEFT can't hold the task.
        ValueError: the folder holds something, or a layer is another than it was.
        FileNotFoundError: the folder's own folder does not exist.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"folder={str(folder)!r} holds something already; name a new folder")
    check_inside(folder, "save")
    updates, own = low_rank_of(task, network)
    dora = {update.magnitude is not None for update in updates.values()}
    if len(dora) != 1:
        raise AdapterError(
            f"task {task.name!r} has {'DoRA at some layers and LoRA at others' if dora else 'no update of low rank'}, "
            "and an adapter of PEFT's has one or the other: fold the task"
        )
    saved = _modules(task, network, own, set(updates), head)
    tensors = {
        f"{path}.{role}": tensor for path, update in updates.items() for role, tensor in _roles(network, path, update)
    }
    tensors |= {f"{module}.{key}": tensor for module, held in saved.items() for key, tensor in held.items()}
    plain = {f"base_model.model.{name}": one.detach().cpu().clone().contiguous() for name, one in tensors.items()}
    config = _config(network, updates, dora.pop(), sorted(saved))
    with draft_of(folder, folder=True) as draft:
        (draft / MODEL).write_bytes(safetensors.torch.save(plain, {"format": "pt"}))
        (draft / CONFIG).write_text(json.dumps(config, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        draft.replace(folder)
    return folder


def low_rank_of(
    task: Task, network: nn.Module, *, anywhere: bool = False
) -> tuple[dict[str, LowRankUpdate], dict[str, Tensor]]:
    """What a task does at layers, as updates of low rank, and the tensors that it has of its own, by name.

    Args:
        task: the task.
        network: its backbone.
        anywhere: on layers of all kinds, where PEFT may have none; the update is that of the weight as outputs × rest.

    Raises:
        AdapterError: it does something else; names the layer.
        ValueError: a layer is another than it was.
    """
    check_alike(network, forms_of(task))
    updates: dict[str, LowRankUpdate] = {}
    own: dict[str, Tensor] = {}
    for path, parts in layers_of(task):
        copied = [part for _, part in parts if isinstance(part, Copied)]
        own |= {f"{path}.{name}" if path else name: tensor for part in copied for name, tensor in part.held().items()}
        if len(copied) < len(parts):
            kind = kind_of(network.get_submodule(path))
            try:
                if not anywhere:
                    _check_kind(kind)
                updates[path] = _update(kind, parts)
            except ValueError as error:
                raise AdapterError(
                    f"task {task.name!r}, layer {path!r}: {error}; PEFT can't hold the task: fold it"
                ) from None
    return updates, own


def _check_kind(kind: Any) -> None:
    """PEFT has a LoRA for it."""
    if not isinstance(kind, (Linear, Embedding)) and type(kind) is not Convolution:
        raise ValueError(f"it is a {kind.words} ({type(kind.module).__name__})")
    if odd := oddities(kind):
        raise ValueError(f"it has {odd}")


def _update(kind: Any, parts: LayerParts) -> LowRankUpdate:
    """What a task does at a layer, as one LoRA."""
    found: list[LowRankUpdate] = []
    for _, part in parts:
        if isinstance(part, Copied):
            continue
        made, leaves = (part.factorisation, dict(part.own.items())) if isinstance(part, Factored) else (None, {})
        whole = isinstance(part, Factored) and part.view.rows is None and part.inventory is None
        if isinstance(made, LowRank) and whole and {"up", "down"} <= leaves.keys():
            alpha = made.scale * made.size if made.alpha is None else made.alpha
            assert isinstance(alpha, (int, float))
            found.append(LowRankUpdate(leaves["down"], leaves["up"], alpha, leaves.get("magnitude")))
        elif isinstance(part, Factored) and isinstance(part.intervention, Beside) and not isinstance(made, Direction):
            tensors = part.tensors(kind, {}, SERVING)
            down = tensors["down"]
            if "spatial" in tensors:
                kernel = tensors["spatial"]
                down = down.reshape(*down.shape, *(1 for _ in kernel.shape[1:])) * kernel[:, None]
            found.append(LowRankUpdate(down, tensors["up"], len(down)))
        else:
            raise ValueError(f"the task's {type(part.intervention).__name__} there is no update of low rank beside it")
    if len(found) == 1:
        return found[0]
    if any(one.magnitude is not None for one in found):
        raise ValueError("the task has several updates there")
    up = torch.cat([one.up * (one.alpha / one.rank) for one in found], 1)
    return LowRankUpdate(torch.cat([one.down for one in found]), up, up.shape[1])


def _roles(network: nn.Module, path: str, update: LowRankUpdate) -> list[tuple[str, Tensor]]:
    """The tensors of a LoRA by the names that PEFT has for them."""
    kind = kind_of(network.get_submodule(path))
    names = (
        ("lora_embedding_A", "lora_embedding_B") if isinstance(kind, Embedding) else ("lora_A.weight", "lora_B.weight")
    )
    ones = (1,) * len(kind.modes.kernel)  # type: ignore[attr-defined]
    found = [(names[0], update.down), (names[1], update.up.reshape(*update.up.shape, *ones))]
    if update.magnitude is not None:
        found.append(("lora_magnitude_vector", update.magnitude.reshape(*((1, -1, *ones) if ones else (-1,)))))
    return found


def _modules(
    task: Task, network: nn.Module, own: dict[str, Tensor], targets: set[str], head: str | None
) -> dict[str, dict[str, Any]]:
    """The whole modules of which a task has tensors of its own, by name, and its head.

    PEFT finds a module by the end of its name: others that end so are written too, as the backbone has them.
    """
    modules = dict(network.named_modules())
    named = {name.rpartition(".")[0] for name in own}
    every = [path for path in modules if path and any(path.endswith(end) for end in named)]
    for path in ["", *every] if "" in named else every:
        if inside := [one for one in targets if f"{one}.".startswith(f"{path}.") or not path]:
            raise AdapterError(
                f"task {task.name!r} has tensors of its own in module {path!r}, and an update of layer {inside[0]!r} "
                "in it, which PEFT can't save together: fold the task"
            )
    found = {path: modules[path].state_dict(prefix=f"{path}.") for path in every}
    saved = {
        path: {key[len(path) + 1 :]: own.get(key, one) for key, one in held.items()} for path, held in found.items()
    }
    if task.head is None:
        return saved
    name = head or (getattr(network, "pretrained_cfg", None) or {}).get("classifier")
    if not isinstance(name, str):
        raise AdapterError(
            f"task {task.name!r} has a head, and it is not known what it is called in the network that the adapter is "
            "for; say so (head='classifier'), or fold the task"
        )
    return {**saved, name: task.head.state_dict()}


def _config(network: nn.Module, updates: dict[str, LowRankUpdate], dora: bool, saved: list[str]) -> dict[str, Any]:
    ranks = {path: update.rank for path, update in updates.items()}
    alphas = {path: update.alpha for path, update in updates.items()}
    rank, alpha = next(iter(ranks.values())), next(iter(alphas.values()))
    names = [path for path, _ in network.named_modules()]
    more = [path for path in names if path not in updates and any(path.endswith(f".{one}") for one in updates)]
    targets: Any = "|".join(map(re.escape, updates)) if more else list(updates)
    base = getattr(getattr(network, "config", None), "_name_or_path", None)
    return {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": base or None,
        "inference_mode": True,
        "r": rank,
        "lora_alpha": alpha,
        "target_modules": targets,
        "rank_pattern": {f"^{re.escape(path)}": one for path, one in ranks.items() if one != rank},
        "alpha_pattern": {f"^{re.escape(path)}": one for path, one in alphas.items() if one != alpha},
        "modules_to_save": saved or None,
        "use_dora": dora,
        "bias": "none",
        "fan_in_fan_out": all(isinstance(kind_of(network.get_submodule(p)), TransformersConv1D) for p in updates),
    }
