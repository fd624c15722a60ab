"""Small networks with the rows of a batch in places of all kinds."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


class Rows(nn.Module):
    """Two layers, and what a subclass does between them."""

    num_features = 8

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 8)


class Views(Rows):
    """Each row twice, all first views before all second ones."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(torch.tanh(self.first(torch.cat([x, -x]))))
        return y[: len(x)] + y[len(x) :].tanh()


class Windows(Rows):
    """Each row as several, side by side."""

    def forward(self, x: Tensor) -> Tensor:
        parts = torch.cat([x[:, None], -x[:, None], 2 * x[:, None]], 1)
        return self.second(torch.tanh(self.first(parts.flatten(0, 1)))).unflatten(0, (-1, 3)).mean(1)


class Inside(Rows):
    """The second layer sees tokens first."""

    def forward(self, x: Tensor) -> Tensor:
        tokens = torch.tanh(self.first(torch.stack([x, -x, 2 * x], 1)))
        return self.second(tokens.transpose(0, 1)).mean(0)


class Frames(Rows):
    """Time first, and time and batch as one axis."""

    def forward(self, x: Tensor) -> Tensor:
        frames = torch.stack([x, -x, 2 * x], 1).transpose(0, 1)
        y = self.second(torch.tanh(self.first(frames.flatten(0, 1))))
        return y.unflatten(0, (3, -1)).mean(0)


class Backwards(Rows):
    """The rows in another order between two layers."""

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.tanh(self.first(x)).flip(0)).flip(0)


class Sorted(Rows):
    """The rows by size, and back again."""

    def forward(self, x: Tensor) -> Tensor:
        order = x.sum(1).argsort()
        return self.second(torch.tanh(self.first(x))[order])[order.argsort()]


class Experts(Rows):
    """Each row to one of two layers."""

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.tanh(self.first(x))
        y = torch.zeros_like(hidden)
        for n, there in enumerate((x.sum(1) > 0, x.sum(1) <= 0)):
            y[there] = self.second(hidden[there]) * (n + 1)
        return y


class Packed(Rows):
    """All tokens of all rows that there are, as one row."""

    def forward(self, x: Tensor) -> Tensor:
        there = x > -10.0
        tokens = x[there]
        y = torch.zeros(len(x), 6)
        y[there] = tokens
        return self.second(torch.tanh(self.first(y)))


class Counted(Rows):
    """Rows are cut where a number of the input says."""

    def forward(self, x: Tensor) -> Tensor:
        size = int((x > -10.0).long().sum()) // x.shape[1]
        return self.second(torch.tanh(self.first(x[:size])))


class Longest(Rows):
    """A number of the input says how much of each row is read, the same whichever rows there are."""

    def forward(self, x: Tensor) -> Tensor:
        longest = int((x > -10.0).sum(1).max())
        return self.second(torch.tanh(self.first(x[:, :longest])))


class Table(Rows):
    """The second layer sees a table of positions, as many as it likes."""

    def __init__(self, places: int) -> None:
        super().__init__()
        self.places = places

    def forward(self, x: Tensor) -> Tensor:
        positions = torch.linspace(0, 1, 8 * self.places).reshape(self.places, 8)
        return torch.tanh(self.first(x)) + self.second(positions).mean(0)


class Learned(Rows):
    """A part that is given nothing."""

    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens = nn.Parameter(torch.randn(8))

        def forward(self) -> Tensor:
            return self.tokens

    def __init__(self) -> None:
        super().__init__()
        self.tokens = self.Tokens()

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.tanh(self.first(x)) + self.tokens())


class Recurrent(Rows):
    """A recurrent layer whose batch comes second."""

    def __init__(self, packed: bool = False) -> None:
        super().__init__()
        self.cell, self.packed = nn.GRU(8, 8), packed

    def forward(self, x: Tensor) -> Tensor:
        tokens = torch.tanh(self.first(torch.stack([x, -x, 2 * x])))
        if self.packed:
            lengths = 1 + (x > 0).sum(1).clamp(max=2)
            given = nn.utils.rnn.pack_padded_sequence(tokens, lengths.cpu(), enforce_sorted=False)
            return self.second(self.cell(given)[1][0])
        return self.second(self.cell(tokens)[0].mean(0))


class Attention(Rows):
    """Torch's attention, batch second, with a mask for each head of each row."""

    def __init__(self, masked: bool = False) -> None:
        super().__init__()
        self.attention, self.masked = nn.MultiheadAttention(8, 2), masked

    def forward(self, x: Tensor) -> Tensor:
        tokens = torch.tanh(self.first(torch.stack([x, -x, 2 * x])))
        mask = None
        if self.masked:
            mask = x[:, :3].repeat_interleave(2, 0)[:, None].expand(-1, 3, -1)
        return self.second(self.attention(tokens, tokens, tokens, attn_mask=mask)[0].mean(0))


class Mixing(Rows):
    """Each row's answer has something of all rows."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(torch.tanh(self.first(x)))
        return y + y.mean(0)


class Pictures(Rows):
    """A row says how many pictures it has, and takes that many of those that there are."""

    def forward(self, x: Tensor, pictures: Tensor) -> Tensor:
        seen, owner = self.second(torch.tanh(self.first(pictures))), x[:, 0].long().repeat_interleave(x[:, 0].long())
        if len(owner) != len(pictures):
            raise ValueError("another number of pictures")
        rows = torch.arange(len(x)).repeat_interleave(x[:, 0].long())
        return torch.zeros(len(x), 8).index_add(0, rows, seen) + torch.tanh(self.first(x))


TOGETHER: dict[str, Callable[[], nn.Module]] = {
    "views": Views,
    "windows": Windows,
    "inside": Inside,
    "frames": Frames,
    "longest": Longest,
    "recurrent": Recurrent,
    "attention": Attention,
    "attention-masked": lambda: Attention(masked=True),
}
"""One pass serves all tasks."""
ONE_BY_ONE: dict[str, Callable[[], nn.Module]] = {
    "backwards": Backwards,
    "sorted": Sorted,
    "experts": Experts,
    "packed": Packed,
    "counted": Counted,
    "table-1": lambda: Table(1),
    "table-4": lambda: Table(4),
    "table-8": lambda: Table(8),
    "learned": Learned,
    "recurrent-packed": lambda: Recurrent(packed=True),
}
"""Tasks run one after another."""
