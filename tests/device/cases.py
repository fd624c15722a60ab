"""Small networks of plain torch modules, and one row per method with the networks it runs on."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import taskfold as tfold


class Attention(nn.Module):
    """One attention block with separate query, key, value and output linears, and a feed-forward part."""

    def __init__(self, width: int = 16, heads: int = 2) -> None:
        super().__init__()
        self.heads, self.norm = heads, nn.LayerNorm(width)
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        parts = (layer(y).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer in self._inputs())
        x = x + self.out(F.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(x)))

    def _inputs(self) -> tuple[nn.Module, ...]:
        return self.query, self.key, self.value


class Transformer(nn.Module):
    """`[B, 3, 8, 8]` → 4 tokens of 16 numbers → two blocks → `[B, 16]`."""

    num_features = 16

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.blocks = nn.Conv2d(3, 16, 4, stride=4), nn.Sequential(Attention(), Attention())

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.patches(x).flatten(2).mT).mean(1)


class Convolutional(nn.Sequential):
    """`[B, 3, 8, 8]` → plain, strided, depthwise and grouped convolutions with BatchNorm → `[B, 16]`."""

    num_features = 16

    def __init__(self) -> None:
        super().__init__(
            *(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.SiLU()),
            *(nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False), nn.BatchNorm2d(8), nn.SiLU()),
            *(nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16), nn.SiLU()),
            *(nn.Conv2d(16, 16, 1), nn.GroupNorm(4, 16), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        )


NETWORKS: dict[str, Callable[[], nn.Module]] = {"convolutional": Convolutional, "transformer": Transformer}
BOTH = tuple(NETWORKS)
METHODS: dict[str, tuple[tfold.Method, tuple[str, ...]]] = {
    "ftn": (tfold.FTN(rank=2, statistics="own"), ("convolutional",)),
    "ftn, routed": (tfold.FTN(rank=2, sharing="tensorpoly-i"), ("convolutional",)),
    "ftn on attention": (tfold.FTNQueryValue(rank=2), ("transformer",)),
    "lora": (tfold.LoRA(rank=2, layers="all", norm=True), BOTH),
    "lora, shared": (tfold.LoRA(rank=2, layers="linear", sharing="shared"), ("transformer",)),
    "tlora": (tfold.TLoRA(rank=2, tensor_rank=2), BOTH),
    "poly": (tfold.Poly(rank=2, skills=3), BOTH),
    "mhr": (tfold.MHR(rank=2, skills=3, splits=2), ("transformer",)),
    "tensorpoly-i": (tfold.TensorPolyI(rank=2, tensor_rank=2), BOTH),
    "tensorpoly-ii": (tfold.TensorPolyII(rank=2, tensor_rank=2, order=3), BOTH),
    "over-parameterised": (tfold.OverParameterised(rank=2, diagonals=2), BOTH),
    "expandnet": (tfold.ExpandNet(rate=1.5, targets=("*", "!3")), ("convolutional",)),
    "repvgg": (tfold.RepVGG(), ("convolutional",)),
    "hard sharing": (tfold.HardSharing(), BOTH),
    "head and norm": (tfold.HeadNorm(), BOTH),
    "fine-tuning": (tfold.FineTuning(), BOTH),
}
CASES = [(method, network) for method, (_, networks) in METHODS.items() for network in networks]
HEADS = {"a": 3, "b": 4, "c": 3}
ROWS = ["b", "a", "c", "a", "b"]


def built(method: str, network: str, dtype: torch.dtype = torch.float64) -> tfold.MultiTask:
    """Three tasks on the CPU, every number of theirs moved away from where it starts; the same bits at each call."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = tfold.MultiTask(NETWORKS[network](), METHODS[method][0]).eval()
        for name, outputs in HEADS.items():
            model.add_task(name, head=outputs)
        belonging = nn.ModuleList([model.tasks, model.inventory])
        with torch.no_grad():
            for tensor in (*belonging.parameters(), *belonging.buffers()):
                if tensor.requires_grad:
                    tensor.add_(0.1 * torch.randn_like(tensor))
                elif tensor.is_floating_point():  # running statistics; a variance stays above 0
                    tensor.mul_(1.2).add_(0.1 * torch.rand_like(tensor))
    return model.to(dtype)


def images(rows: int = len(ROWS), dtype: torch.dtype = torch.float64) -> Tensor:
    """`[rows, 3, 8, 8]`, the same at each call, on the CPU."""
    return torch.randn(rows, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)
