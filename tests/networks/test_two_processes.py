"""Two processes train as one does on the whole batch: DistributedDataParallel and sharded networks (FSDP2)."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
import torch.distributed
import torch.multiprocessing
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

import taskfold as tfold

WAYS = ("parallel-task", "parallel-mixed", "sharded-task", "sharded-mixed")
NAMES = list("abbaabab")
STEPS = 3


def built() -> tfold.MultiTask:
    torch.manual_seed(0)
    first = (nn.Conv2d(3, 8, 3, stride=2, bias=False), nn.BatchNorm2d(8), nn.ReLU())
    second = (nn.Conv2d(8, 16, 3, bias=False), nn.BatchNorm2d(16), nn.ReLU())
    network = nn.Sequential(*first, *second, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = tfold.MultiTask(network, tfold.FTN(rank=2), num_features=16).train()
    for name in "ab":
        model.add_task(name, head=5)
    for parameter in trained(model).values():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.02)
    return model


def trained(model: tfold.MultiTask) -> dict[str, Tensor]:
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def train(network: nn.Module, rows: slice, mixed: bool) -> None:
    """Some steps on these rows of a batch, each row with its own task, or all with one."""
    draw = torch.Generator().manual_seed(1)
    images, labels = torch.randn(8, 3, 32, 32, generator=draw), torch.randint(5, (8,), generator=draw)
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.5)
    for _ in range(STEPS):
        optimizer.zero_grad()
        outputs = network(images[rows], task=NAMES[rows]) if mixed else network(images[rows])
        cross_entropy(outputs if isinstance(outputs, Tensor) else torch.stack(list(outputs)), labels[rows]).backward()
        optimizer.step()


def whole(tensor: Tensor) -> Tensor:
    return (tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor).detach().clone()  # type: ignore[operator]


def _work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", "FSDP2-wrapped module")  # said of any module that returns a slice
    torch.distributed.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=2)
    for way in WAYS:
        model, mixed = built(), way.endswith("mixed")
        before = {name: tensor.clone() for name, tensor in model.backbone.state_dict().items()}
        network: nn.Module = model if mixed else model.for_task("a")
        if way.startswith("sharded"):
            fully_shard(model.backbone)
            fully_shard(network)
        else:
            network = DistributedDataParallel(network)
        train(network, slice(4 * rank, 4 * rank + 4), mixed)
        got = {name: whole(parameter) for name, parameter in trained(model).items()}
        still = all(torch.equal(before[name], whole(t)) for name, t in model.backbone.state_dict().items())
        if rank == 0:
            torch.save((got, still), Path(folder, way))
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    torch.multiprocessing.spawn(_work, (str(folder),), nprocs=2)  # type: ignore[attr-defined]
    return folder


@pytest.mark.parametrize("way", WAYS)
def test_two_processes_train_as_one(results: Path, way: str) -> None:
    got, still = torch.load(results / way)
    assert still, "the backbone has moved"
    model, mixed = built(), way.endswith("mixed")
    start = {name: parameter.detach().clone() for name, parameter in trained(model).items()}
    train(model if mixed else model.for_task("a"), slice(0, 8), mixed)
    wanted = {name: parameter.detach() for name, parameter in trained(model).items()}
    assert got.keys() == wanted.keys()
    for task in "ab":
        mine = {name: tensor for name, tensor in wanted.items() if f".{task}." in name}
        moved = max(float((tensor - start[name]).abs().max()) for name, tensor in mine.items())
        assert moved > 1e-2 if mixed or task == "a" else moved == 0, moved
    for name, tensor in wanted.items():
        torch.testing.assert_close(got[name], tensor, atol=1e-6, rtol=1e-5)
