"""Layers are projections of attention only if their sizes are those of its heads."""

from __future__ import annotations

import pytest
from torch import nn

import taskfold as tfold
from taskfold.layers import Attention, Matrices


class KeysAndValues(nn.Module):
    """Keys and values in a layer that is called as others call all three (GCViT's global queries)."""

    def __init__(self, heads: int, size: int) -> None:
        super().__init__()
        self.num_heads, self.head_dim = heads, size
        self.qkv, self.proj = nn.Linear(8, 2 * heads * size), nn.Linear(heads * size, 8)


@pytest.mark.parametrize(("heads", "size"), [(2, 4), (3, 2)])  # the second: three thirds would be whole heads
def test_a_layer_of_other_sizes_is_a_linear_layer(heads: int, size: int) -> None:
    net = nn.Sequential(KeysAndValues(heads, size))
    assert not Attention(projections=("query", "key", "value", "output")).candidates(net)
    found = {target.path: [view.name for view in target.views] for target in Matrices().candidates(net)}
    assert found == {"0.qkv": ["weight"], "0.proj": ["weight"]}
    with pytest.raises(ValueError, match="has no attention"):
        tfold.MultiTask(net, tfold.FTNQueryValue(rank=1)).add_task("a")
    task = tfold.MultiTask(net, tfold.LoRA(rank=1, layers="all")).add_task("a")
    assert sum(p.numel() for p in task.parameters()) == (8 + 2 * heads * size) + (heads * size + 8)
