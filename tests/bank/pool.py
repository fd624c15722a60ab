"""Tasks of several methods, ranks and heads, with each one's own answers."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

import taskfold as tfold

TOLERANCE = 1e-4
METHODS = {
    "thin": tfold.FTN(rank=1, init="normal"),
    "wide": tfold.FTN(rank=3, init="normal", norm=False),
    "stem": tfold.FTN(rank=2, init="normal", stem=True),
    "norm": tfold.HeadNorm(),
    "head": tfold.HeadOnly(),
    "other head": tfold.HeadOnly(),
    "tuned": tfold.FineTuning(),
}


class Pool:
    """A model whose tasks are put into banks, some inputs, and the tasks' own answers to them."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        layers = [nn.Conv2d(3, 4, 3), nn.Conv2d(4, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU()]
        net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(6))
        self.model = tfold.MultiTask(net, num_features=6).eval()
        for n, (name, method) in enumerate(METHODS.items()):
            task = self.model.add_task(name, head=1 + n % 4, method=method)
            for tensor in [*task.parameters(), *(b for b in task.buffers() if b.is_floating_point())]:
                tensor.data.add_(torch.rand_like(tensor))
        self.x = torch.randn(2, 3, 6, 6)
        with torch.no_grad():
            self.answers: dict[str, Tensor] = {name: self.model(self.x, task=name) for name in METHODS}
        for one, mine in self.answers.items():
            for other, theirs in self.answers.items():
                if one < other and mine.shape == theirs.shape:
                    assert (mine - theirs).abs().min() > 100 * TOLERANCE, f"{one!r} and {other!r} answer alike"

    def check(self, found: Tensor, name: str) -> None:
        """Whether that is the task's answer to all inputs."""
        torch.testing.assert_close(found, self.answers[name], rtol=TOLERANCE, atol=TOLERANCE)

    @torch.no_grad()
    def check_all(self, bank: tfold.Bank, held: Mapping[str, str], broadcast: bool = True) -> None:
        """Whether the bank holds these tasks and no others, and each answers as its own task does.

        Args:
            bank: the bank.
            held: by name in the bank, the name in the pool.
            broadcast: ask with `broadcast=True` too.
        """
        assert list(bank) == list(held)
        assert len(set(bank.table.places.values())) == len(held), f"tasks share a place: {bank.table.places}"
        if not held:
            return
        names = [name for name in held for _ in self.x]
        found = bank(torch.cat([self.x] * len(held)), task=names)
        for name, key in held.items():
            self.check(found.of(name), key)
        for name, rows in bank(self.x, task=list(held), broadcast=True).items() if broadcast else ():
            self.check(rows, held[name])
