"""What several processes must agree on. The rest of distributed training is Accelerate's."""

from __future__ import annotations

import os
from typing import cast

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType, broadcast
from torch import Tensor, nn

PLAIN = {DistributedType.NO} | {kind for kind in DistributedType if kind.value.startswith("MULTI_")}


def start(precision: str) -> Accelerator:
    """An Accelerator of that precision, whatever the one before in this process had.

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
    """Every process must hold the same.

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
def send(accelerator: Accelerator, module: nn.Module, *, buffers_only: bool = False) -> None:
    """The first process's tensors to all others.

    Its running statistics are the ones that count: DistributedDataParallel sends them before each step, not after.
    """
    if accelerator.num_processes > 1:
        for tensor in [*module.buffers(), *(() if buffers_only else module.parameters())]:
            tensor.copy_(broadcast(tensor.detach()))


def total(accelerator: Accelerator, tensor: Tensor) -> Tensor:
    """The sum of every process's tensor, in all of them."""
    return tensor if accelerator.num_processes == 1 else cast(Tensor, accelerator.reduce(tensor, "sum"))


def average(accelerator: Accelerator, tensor: Tensor) -> Tensor:
    """The mean of every process's tensor, in all of them."""
    return tensor if accelerator.num_processes == 1 else cast(Tensor, accelerator.reduce(tensor, "mean"))
