"""Networks and layers that are refused by name end commands with that sentence, and no traceback."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from .conftest import Run
from .project import write

NETWORK = """
import torch
from torch import nn

class Codebook(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("codes", torch.zeros(8))
    def forward(self, x):
        self.codes.mul_(0.9).add_(x.detach().mean((0, 2, 3)), alpha=0.1)
        return x

class Branched(nn.Conv2d):
    def forward(self, x):
        from torch.nn.attention.flex_attention import flex_attention
        y = super().forward(x).flatten(2).transpose(1, 2)[:, None]
        return flex_attention(y, y, y)[:, 0].transpose(1, 2).unflatten(2, (6, 6))

def build():
    first = LAYER
    net = nn.Sequential(first, nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    net.num_features = 8
    return net
"""
CASES = {
    "geometry": (
        "nn.Conv2d(3, 8, 3)",
        {"name": "parallel-adapter"},
        r"layer '0' \(Conv2d\): a 1×1 convolution beside it",
    ),
    "computed": (
        "nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 8, 3))",
        {"name": "ftn", "rank": 2, "norm": False, "stem": True},
        r"layer '0' .* has no plain parameter 'weight'",
    ),
    "operator": (
        "Branched(3, 8, 3)",
        {"name": "ftn", "rank": 2, "norm": False, "stem": True},
        r"higher-order operator 'flex_attention'",
    ),
    "lazy": ("nn.LazyConv2d(8, 3)", {"name": "ftn", "rank": 2, "norm": False, "stem": True}, r"has no weights yet"),
    "written": (
        "nn.Sequential(nn.Conv2d(3, 8, 3), Codebook())",
        {"name": "ftn", "rank": 2, "norm": False, "stem": True},
        r"layer '0\.1' \(Codebook\) writes the backbone's tensor 'codes'",
    ),
}


def written(folder: Path, layer: str, **changes: Any) -> Path:
    path = write(folder, **changes)
    (folder / "net.py").write_text(NETWORK.replace("LAYER", layer))
    return path


@pytest.mark.filterwarnings("ignore:flex_attention called")
@pytest.mark.parametrize(("layer", "method", "words"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("packed", [False, True])
def test_a_training_ends_with_the_refusal(
    layer: str, method: dict[str, Any], words: str, packed: bool, tmp_path: Path, run: Run
) -> None:
    tasks = [{"name": name, "source": {"kind": "folder", "root": "data/warm"}} for name in ("one", "two")]
    result = run("train", written(tmp_path, layer, method=method, tasks=tasks), *["--pack"] * packed)
    assert result.exit_code == 1, result.exception
    assert isinstance(result.exception, SystemExit)
    assert re.search(words, " ".join(result.stderr.split())), result.stderr


@pytest.mark.filterwarnings("ignore:flex_attention called")
@pytest.mark.parametrize("case", ["geometry", "computed", "operator", "written"])
def test_a_comparison_goes_on_without_a_method_that_is_refused(case: str, tmp_path: Path, run: Run) -> None:
    layer, method, _ = CASES[case]
    path = written(
        tmp_path,
        layer,
        compare={"methods": ["head-only", method], "trials": 1, "seeds": 1},
        tasks=[{"name": "warm", "source": {"kind": "folder", "root": "data/warm"}}],
        train={"epochs": 1, "batch_size": 8},
    )
    path.write_text(re.sub("method:\n  name: ftn\n  rank: 2\n", "", path.read_text()))
    result = run("compare", path)
    assert result.exit_code == 0, result.output
    assert "head-only" in result.stdout.lower() or "HeadOnly" in result.stdout


def test_counts_end_with_the_refusal(tmp_path: Path, run: Run) -> None:
    layer, method, _ = CASES["geometry"]
    written(tmp_path, layer)
    result = run("count", "--model", f"{tmp_path}/net.py:build", "--method", method["name"])
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert "a 1×1 convolution beside it" in " ".join(result.stderr.split())
