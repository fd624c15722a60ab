"""A bank whose layers see windows of its rows, written for batches of any size."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import taskfold as tfold
from taskfold.export import export

SIZE = 6


class Windows(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.out = nn.Linear(SIZE, SIZE), nn.Linear(SIZE, SIZE)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        windows = self.inner(x.view(batch, 2, length // 2, SIZE).flatten(0, 1)).tanh()
        return self.out(windows.view(batch, length, SIZE).mean(1))


def built() -> tfold.MultiTask:
    torch.manual_seed(0)
    model = tfold.MultiTask(Windows(), tfold.LoRA(rank=2))
    for name in "ab":
        for tensor in model.add_task(name).parameters():
            tensor.data.normal_()
    return model.eval()


@torch.no_grad()
def test_for_any_batch(tmp_path: Path) -> None:
    model = built()
    bank, x = model.bank(), torch.randn(5, 4, SIZE)
    export(bank, [x[:4], bank.index(list("abab"))], tmp_path / "bank.pt2")
    written = torch.export.load(tmp_path / "bank.pt2").module()
    for names in ("ab", "bbaba"):
        said = written(x[: len(names)], bank.index(list(names)))
        for one, name, row in zip(said, names, x, strict=False):
            torch.testing.assert_close(one, model.fold(name)(row[None])[0])


@pytest.mark.filterwarnings("ignore")
@torch.no_grad()
def test_tracing_of_values_is_refused() -> None:
    model, x = built(), torch.randn(2, 4, SIZE)
    for who in (model, model.bank()):
        with pytest.raises(ValueError, match=r"torch\.jit\.trace .* can't follow several tasks.*trace model\.fold"):
            torch.jit.trace(lambda v, who=who: torch.stack(list(who(v, task=["a", "b"]))), x)
        with pytest.raises(ValueError, match=r"torch\.jit\.trace .* can't follow several tasks"):
            torch.jit.trace(lambda v, who=who: who(v, task=["b", "a"], broadcast=True)["b"], x)
