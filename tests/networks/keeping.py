"""Networks that keep numbers, arrays and tensors in odd containers from one pass to the next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn


@dataclass(slots=True)
class Slots:
    h: Tensor | None = None
    at: int = 0


class Pair(NamedTuple):
    h: Tensor
    c: Tensor


class Own(list[Tensor]):
    pass


class Keeps(nn.Module):
    """Adds what its last passes have left; subclasses say what."""

    num_features = 4

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.begin()

    def begin(self) -> None:
        self.state: Any = None

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x).tanh()
        return y + 2 * self.step(y.mean(0).detach())

    def step(self, h: Tensor) -> Any:
        raise NotImplementedError


class Number(Keeps):
    def begin(self) -> None:
        self.state = 0.0

    def step(self, h: Tensor) -> float:
        self.state = 0.5 * self.state + h.sum().item()
        return self.state


class FirstNumber(Keeps):
    def step(self, h: Tensor) -> float:
        if self.state is None:
            self.state = h.sum().item()
        return self.state


class Running(Keeps):
    def step(self, h: Tensor) -> float:
        before = h.sum().item() if self.state is None else self.state
        self.state = 0.5 * before + 0.5 * h.sum().item()  # the same batch again changes nothing
        return self.state


class InList(Keeps):
    def begin(self) -> None:
        self.state = [0.0]

    def step(self, h: Tensor) -> float:
        self.state[0] = 0.5 * self.state[0] + h.sum().item()
        return self.state[0]


class InDict(Keeps):
    def begin(self) -> None:
        self.state = {}

    def step(self, h: Tensor) -> float:
        self.state["m"] = 0.5 * self.state.get("m", 0.0) + h.sum().item()
        return self.state["m"]


class Steps(Keeps):
    def begin(self) -> None:
        self.state = 0

    def step(self, h: Tensor) -> float:
        self.state += 1
        return 0.5**self.state


class Array(Keeps):
    def begin(self) -> None:
        self.state = np.zeros(4, "float32")

    def step(self, h: Tensor) -> Tensor:
        self.state = 0.5 * self.state + h.numpy()
        return torch.from_numpy(self.state)


class ArrayInside(Array):
    def step(self, h: Tensor) -> Tensor:
        np.add(0.5 * self.state, h.numpy(), out=self.state)
        return torch.from_numpy(self.state.copy())


class ByNumPy(Keeps):
    def begin(self) -> None:
        self.state = torch.zeros(4)

    def step(self, h: Tensor) -> Tensor:
        memory = self.state.numpy()
        memory *= 0.5
        memory += h.numpy()
        return self.state.clone()


class InSlots(Keeps):
    def begin(self) -> None:
        self.state = Slots()

    def step(self, h: Tensor) -> Tensor:
        self.state.h = h if self.state.h is None else self.state.h + h
        self.state.at += 1
        return self.state.h / self.state.at


class Exchanged(Keeps):
    def begin(self) -> None:
        self.state, self.other = torch.zeros(4), torch.zeros(4)

    def step(self, h: Tensor) -> Tensor:
        self.state, self.other = self.other, self.state
        self.state.copy_(0.5 * self.other + h)
        return self.state - self.other


class Best(Keeps):
    def begin(self) -> None:
        self.state = []

    def step(self, h: Tensor) -> Tensor:
        self.state.append((-h.sum().item(), h))
        self.state.sort(key=lambda one: one[0])
        self.state = self.state[:2]
        return self.state[0][1]


class Named(Keeps):
    def step(self, h: Tensor) -> Tensor:
        self.state = Pair(h, -h) if self.state is None else Pair(0.5 * self.state.h + h, self.state.c - h)
        return self.state.h - 0.1 * self.state.c


class OwnList(Keeps):
    def begin(self) -> None:
        self.state = Own()

    def step(self, h: Tensor) -> Tensor:
        self.state = Own([*self.state, h][-2:])
        return torch.stack([*self.state]).sum(0)


class Child(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rows = torch.zeros(16, 4)

    def forward(self, h: Tensor, at: int) -> Tensor:
        self.rows[at] = h
        return self.rows[: at + 1].sum(0)


class PlaceInParent(Keeps):
    def begin(self) -> None:
        self.at, self.child = 0, Child()

    def step(self, h: Tensor) -> Tensor:
        self.at += 1
        return self.child(h, self.at - 1)


class Average(Keeps):
    """Registers its average anew in every pass."""

    def step(self, h: Tensor) -> Tensor:
        self.register_buffer("ema", h + 0.5 * getattr(self, "ema", torch.zeros(4)), persistent=False)
        return self.ema  # type: ignore[return-value]


class Once(Keeps):
    """Takes its scale from its first input."""

    def step(self, h: Tensor) -> Tensor:
        if not hasattr(self, "scale"):
            self.register_buffer("scale", h.abs() + 1, persistent=False)
        return h / self.scale


class OnceEmpty(Keeps):
    def begin(self) -> None:
        self.register_buffer("scale", None, persistent=False)

    def step(self, h: Tensor) -> Tensor:
        if self.scale is None:
            self.register_buffer("scale", h.abs() + 1, persistent=False)
        return h / self.scale


KINDS = [
    Average,
    Once,
    OnceEmpty,
    Number,
    FirstNumber,
    Running,
    InList,
    InDict,
    Steps,
    Array,
    ArrayInside,
    ByNumPy,
    InSlots,
    Exchanged,
    Best,
    Named,
    OwnList,
    PlaceInParent,
]
