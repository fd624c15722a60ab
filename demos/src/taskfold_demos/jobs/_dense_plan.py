"""What the demonstration of dense prediction compares: methods on one network, and how each is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from taskfold.methods import (
    FTN,
    ExpandNet,
    FineTuning,
    HardSharing,
    HeadNorm,
    HeadOnly,
    Method,
    OverParameterised,
    Phase,
    RepVGG,
    Turn,
)
from taskfold.threads import Choice
from taskfold.train import JointSettings, OptimizerSettings

from ..trainings import Compare, check_choices

SINGLE = "single task"


@dataclass(frozen=True)
class DenseContender:
    """One method as it is compared.

    Attributes:
        label: its row in the tables.
        method: the method.
        lr: learning rate of what tasks have in common, or of a task's own factors; of normalisation and heads too.
        diagonal: learning rate of the diagonals.
        warm_up: epochs of iterative training, before all others, in which only the diagonals train; in each of the
            others they train first, and then everything else. None: everything trains at once.
        apart: every task is trained by itself, since tasks have nothing in common.
        frozen: the task whose single-task network is the frozen backbone; None: a network with random weights.
        weighting, balance: of the tasks' losses and gradients.
    """

    label: str
    method: Method
    lr: float = 3e-3
    diagonal: float = 1e-2
    warm_up: int | None = None
    apart: bool = False
    frozen: str | None = None
    weighting: Literal["fixed", "uncertainty"] = "fixed"
    balance: Literal["upgrad"] | None = None

    def settings(self, plan: DensePlan, seed: int) -> JointSettings:
        """How it is trained; the same number of epochs for all methods."""
        rate = OptimizerSettings(lr=self.lr)
        return JointSettings(
            epochs=plan.epochs + (self.warm_up or 0),
            batch_size=plan.batch_size,
            seed=seed,
            optimizers={
                **dict.fromkeys(("factors", "norm", "head"), rate),
                "diagonal": OptimizerSettings(lr=self.diagonal),
            },
            phases=None if self.warm_up is None else iterative(self.warm_up),
            weighting=self.weighting,
            balance=self.balance,
            schedule="cosine",
            clip_norm=10.0,
            select_by="loss",
            checkpoint_every=1e9,
            threads=plan.threads,
        )


@dataclass(frozen=True)
class DensePlan:
    """A demonstration.

    Attributes:
        contenders: what is compared; the first is the network for each task that gains are counted from.
        network, settings: by name, for `taskfold.dense.build_network`.
        train, val, test: rooms of each part.
        size: of the images, pixels.
        shown: test images in the report.
        threads: of torch in training; see `taskfold.threads`.
    """

    contenders: tuple[DenseContender, ...]
    seeds: tuple[int, ...] = (0,)
    network: str = "segnet"
    settings: Mapping[str, Any] = field(default_factory=lambda: {"width": 12, "stages": 4})
    train: int = 640
    val: int = 120
    test: int = 240
    size: tuple[int, int] = (64, 96)
    epochs: int = 5
    batch_size: int = 4
    shown: int = 5
    threads: Choice = None


def iterative(warm_up: int) -> tuple[Phase, ...]:
    """In every epoch first the diagonals, each task by its own loss, then all else; in the first epochs these alone."""
    diagonals = Turn(("diagonal",), own_loss=True)
    return Phase(turns=(diagonals,), epochs=warm_up), Phase(turns=(diagonals, Turn()))


ITERATIVE: Mapping[str, Any] = {"warm_up": 1, "diagonal": 3e-2}
DEFAULT = (SINGLE, "multi-task", "over-parameterised", "FTN R=10")
Size = Literal["demo", "full", "frozen", "quick"]


def _single() -> DenseContender:
    """A network for each task."""
    return DenseContender(SINGLE, FineTuning(), apart=True)


def _from_scratch() -> list[DenseContender]:
    return [
        _single(),
        DenseContender("multi-task", HardSharing()),
        DenseContender("over-parameterised", OverParameterised(), **ITERATIVE),
        DenseContender("over-parameterised r=32", OverParameterised(rank=32), **ITERATIVE),
        DenseContender("over-parameterised r=8", OverParameterised(rank=8), **ITERATIVE),
        DenseContender("over-parameterised, joint", OverParameterised()),
        DenseContender("ExpandNet", ExpandNet(rate=2.0), lr=1e-3),
        DenseContender("RepVGG", RepVGG()),
        DenseContender("multi-task, uncertainty", HardSharing(), weighting="uncertainty"),
        DenseContender("multi-task, UPGrad", HardSharing(), balance="upgrad"),
    ]


def _on_frozen(ranks: tuple[int, ...], without: float = 1e-2) -> list[DenseContender]:
    """Tasks that join a network which has learned segmentation, one by one; `without`: the rate without factors."""
    common: Mapping[str, Any] = {"apart": True, "frozen": "segmentation"}
    return [
        DenseContender("decoder only", HeadOnly(), lr=without, **common),
        DenseContender("decoder + norm", HeadNorm(), lr=without, **common),
        *(DenseContender(f"FTN R={rank}", FTN(rank=rank), lr=1e-2, **common) for rank in ranks),
    ]


def dense_contenders() -> dict[str, DenseContender]:
    """All methods on SegNet, by label. Learning rates, here and on other networks: `experiments/dense_rates.py`."""
    return {one.label: one for one in [*_from_scratch(), *_on_frozen((10,))]}


def dense_plan(size: Size = "demo", *, seeds: tuple[int, ...] = (0,), compare: Compare = "default") -> DensePlan:
    """The demonstration in one of its sizes.

    Args:
        size: `demo` is done in minutes; `full` is the experiment on SegNet, and `frozen` the one on ResNet-18 with a
            DeepLabv3+ decoder for each task; `quick` shows in seconds that everything runs.
        seeds: repetitions.
        compare: `default` (single-task networks, multi-task, over-parameterised, FTN) or `all`; of `frozen` always all.

    Raises:
        ValueError: no such size or comparison, or no seeds.
    """
    check_choices(size, Size, compare, seeds)
    known = dense_contenders()
    chosen = tuple(known.values()) if compare == "all" else tuple(known[label] for label in DEFAULT)
    if size == "frozen":
        own = (replace(_single(), lr=1e-2), *_on_frozen((1, 10, 20, 30), without=3e-2))
        settings = {"encoder": "resnet18", "width": 64, "dropout": 0.1}
        return DensePlan(own, seeds, network="deeplab", settings=settings)
    if size == "full":
        return DensePlan(chosen, seeds)
    if size == "quick":
        tiny: Mapping[str, Any] = {"width": 4, "stages": 2}
        return DensePlan(chosen, seeds, settings=tiny, train=16, val=4, test=6, epochs=2, shown=2)
    return replace(DensePlan(chosen, seeds), train=200, val=40, test=80)
