"""Agreement of several processes; Accelerate does the rest of distributed training."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import cast

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType, broadcast
from torch import Tensor

PLAIN = {DistributedType.NO} | {kind for kind in DistributedType if kind.value.startswith("MULTI_")}


def start(precision: str) -> Accelerator:
    """An Accelerator of this precision, whatever the precision of this process's earlier ones.

    Raises:
        ValueError: Accelerate is set to shard the model or accumulate gradients, or sees one of several processes.
    """
    if AcceleratorState._shared_state and AcceleratorState().mixed_precision != precision:
        AcceleratorState._reset_state()
    accelerator = Accelerator(mixed_precision=precision)
    if accelerator.distributed_type not in PLAIN or accelerator.gradient_accumulation_steps != 1:
        raise ValueError(
            f"Accelerate is set to distributed_type={accelerator.distributed_type.value}, gradient_accumulation_steps="
            f"{accelerator.gradient_accumulation_steps}; a task trains on one device or data-parallel, without "
            "accumulation: set batch_size instead, and launch with torchrun or `accelerate launch --multi_gpu`"
        )
    if accelerator.num_processes == 1 and (launched := int(os.environ.get("WORLD_SIZE", "1"))) > 1:
        raise ValueError(
            f"WORLD_SIZE={launched} processes were launched, but Accelerate found no GPU to join them on; "
            "without GPUs set ACCELERATE_USE_CPU=true"
        )
    return accelerator


def check_equal(accelerator: Accelerator, what: str, text: str) -> None:
    """Checks that every process holds the same.

    Raises:
        ValueError: they differ.
    """
    if accelerator.num_processes == 1:
        return
    mine = torch.frombuffer(bytearray(text.encode()[:64].ljust(64)), dtype=torch.uint8).to(accelerator.device)
    every = accelerator.gather(mine[None])
    if not torch.equal(cast(Tensor, every), mine.expand(accelerator.num_processes, -1)):
        raise ValueError(f"{what} differs between the processes; build it from the same seed and files in each of them")


@torch.no_grad()
def send(accelerator: Accelerator, tensors: Iterable[Tensor]) -> None:
    """Send the first process's tensors to all others, all of one type at once."""
    if accelerator.num_processes == 1:
        return
    kinds: dict[torch.dtype, list[Tensor]] = {}
    for tensor in tensors:
        kinds.setdefault(tensor.dtype, []).append(tensor)
    for kind in kinds.values():
        _fill(kind, cast(Tensor, broadcast(torch.cat([tensor.detach().flatten() for tensor in kind]))))


@torch.no_grad()
def total_gradients(
    accelerator: Accelerator, parameters: Sequence[Tensor], gradients: Sequence[Tensor | None]
) -> list[Tensor | None]:
    """Gradients summed over all processes; None if no process has one.

    DistributedDataParallel would fill in zeros, and momentum and decay move a parameter whose gradient is zero.
    """
    if accelerator.num_processes == 1 or not parameters:
        return list(gradients)
    found = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, gradients, strict=True)]
    present = torch.tensor([float(g is not None) for g in gradients], device=found[0].device)
    flat = total(accelerator, torch.cat([*(gradient.flatten() for gradient in found), present]))
    made = [torch.empty_like(gradient) for gradient in found]
    _fill(made, flat)
    return [g if there else None for g, there in zip(made, flat[-len(present) :].tolist(), strict=True)]


def _fill(tensors: Sequence[Tensor], flat: Tensor) -> None:
    start = 0
    for tensor in tensors:
        tensor.copy_(flat[start : start + tensor.numel()].reshape(tensor.shape))
        start += tensor.numel()


def total(accelerator: Accelerator, tensor: Tensor) -> Tensor:
    """The sum of the tensor over all processes."""
    return tensor if accelerator.num_processes == 1 else cast(Tensor, accelerator.reduce(tensor, "sum"))
