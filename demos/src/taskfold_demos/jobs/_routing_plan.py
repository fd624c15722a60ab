"""What the demonstration of shared inventories compares: languages, methods, and how each is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from taskfold.methods import MHR, LoRA, Method, Poly, TensorPolyI, TensorPolyII, TLoRA
from taskfold.text import Objective
from taskfold.threads import Choice
from taskfold.train import JointSettings, OptimizerSettings

from ..trainings import Compare, check_choices
from ._languages import HELD_OUT, TRAINING

LM = Objective(mc=0, ul=0)
Way = Literal["all", "mu", "z", "random-mu", "continue", "scratch"]
"""How a held-out language is learned: the modes of `MultiTask.transfer_task`; `random-mu` is `mu` after training with
random routing; `continue` goes on from a copy of factors that all tasks shared; `scratch` starts a method anew."""


@dataclass(frozen=True)
class Contender:
    """One method as it is compared.

    Attributes:
        label: its row in the tables.
        method: the method.
        lr: learning rate of the factors in joint training.
        ways: how it learns the held-out languages, and the learning rates of factors and routing for that.
        routing: learning rate of the routing in joint training. A language sees few steps here; at the paper's 0.1 it
            would hardly move.
    """

    label: str
    method: Method
    lr: float
    ways: Mapping[Way, tuple[float, float]]
    routing: float = 1.0

    @property
    def routed(self) -> bool:
        """Whether tasks choose from an inventory."""
        return not {"continue", "scratch"} & set(self.ways)


@dataclass(frozen=True)
class Stage:
    """How long one of the two stages takes, in batches of bundles of one language's words."""

    steps: int
    languages: int
    words: int
    validations: int
    warmup: float = 0.06

    def settings(self, seed: int, lr: float, routing: float) -> JointSettings:
        """The same for all methods, but for the learning rates."""
        return JointSettings(
            max_steps=self.steps,
            steps_per_epoch=-(-self.steps // self.validations),
            batch_size=self.languages,
            sampling="uniform",
            seed=seed,
            optimizers={"factors": OptimizerSettings(lr=lr), "routing": OptimizerSettings(lr=routing)},
            schedule="linear",
            warmup=self.warmup,
            clip_norm=1.0,
            select_by="loss",
            checkpoint_every=1e9,
        )


@dataclass(frozen=True)
class RoutingPlan:
    """A demonstration.

    Attributes:
        training, held_out: languages, by their English names.
        contenders: what is compared.
        train, val, test: words of each training language, and of each held-out language to validate and test on.
        shots: numbers of examples of a held-out language, by seed out of `pool`.
        together, transfer: the two stages.
        losses: of the second stage; the first has the loss of the target alone.
        max_bytes: of a word.
        threads: of torch in training; see `taskfold.threads`.
    """

    training: tuple[str, ...]
    held_out: tuple[str, ...]
    contenders: tuple[Contender, ...]
    seeds: tuple[int, ...] = (0,)
    shots: tuple[int, ...] = (32, 128)
    train: int = 1500
    val: int = 24
    test: int = 100
    pool: int = 512
    together: Stage = field(default=Stage(200, 4, 16, 5))
    transfer: Stage = field(default=Stage(60, 6, 8, 6))
    losses: Objective = LM
    max_bytes: int = 16
    threads: Choice = None


Size = Literal["demo", "full", "quick"]
DEFAULT = ("LoRA shared", "Poly", "TensorPoly-I")
# Those of a family are here and there; dictionaries that take long to read are not.
SOME = (
    "Asturian", "Bulgarian", "Catalan", "Czech", "Welsh", "Danish", "Spanish", "Irish", "Manx", "Serbo-Croatian",
    "Icelandic", "Italian", "Lithuanian", "Bokmål", "Romanian", "Slovene",
)  # fmt: skip
SOME_HELD_OUT = ("Galician", "Nynorsk", "Slovak", "Scottish Gaelic", "Latvian")


def _routed(all: float, mu: float, z: float) -> Mapping[Way, tuple[float, float]]:
    """Learning rates: of the factors, of the factors, of the routing."""
    return {"all": (all, 1.0), "mu": (mu, 1.0), "z": (mu, z)}


def contenders() -> dict[str, Contender]:
    """All of them, by label. Learning rates were chosen on validation data by `experiments/routing_rates.py`."""
    poly, tensor = Poly(rank=4, skills=8), TensorPolyI(rank=16, tensor_rank=8)
    low_rank, entangled = _routed(1e-2, 1e-2, 0.3), _routed(1e-2, 3e-2, 0.3)
    found = [
        Contender("LoRA shared", LoRA(rank=4, alpha=1.0, sharing="shared"), 2e-2, {"continue": (1e-2, 1.0)}),
        Contender("LoRA private", LoRA(rank=4, alpha=1.0), 5e-2, {"scratch": (1e-2, 1.0)}),
        Contender("TLoRA shared", TLoRA(rank=16, sharing="shared"), 5e-2, {"continue": (3e-2, 1.0)}),
        Contender("Poly", poly, 2e-2, low_rank),
        Contender("MHR", MHR(rank=4, skills=8, splits=4), 2e-2, _routed(3e-3, 1e-2, 0.3)),
        Contender("TensorPoly-I", tensor, 5e-2, entangled),
        Contender("TensorPoly-II", TensorPolyII(rank=16, tensor_rank=8), 5e-2, _routed(3e-2, 3e-2, 0.3)),
        Contender("Poly, random", replace(poly, allocation="random"), 2e-2, {"random-mu": low_rank["mu"]}),
        Contender("TensorPoly-I, random", replace(tensor, allocation="random"), 5e-2, {"random-mu": entangled["mu"]}),
    ]
    return {one.label: one for one in found}


def routing_plan(size: Size = "demo", *, seeds: tuple[int, ...] = (0,), compare: Compare = "default") -> RoutingPlan:
    """The demonstration in one of its sizes.

    Args:
        size: `demo` is done in minutes; `full` is the experiment: 30 languages, six held out; `quick` shows in seconds
            that everything runs.
        seeds: repetitions.
        compare: `default` (LoRA shared, Poly, TensorPoly-I) or `all`.

    Raises:
        ValueError: no such size or comparison, or no seeds.
    """
    check_choices(size, Size, compare, seeds)
    known = contenders()
    chosen = tuple(known.values()) if compare == "all" else tuple(known[label] for label in DEFAULT)
    if size == "full":
        return RoutingPlan(TRAINING, tuple(name for name in HELD_OUT if name != "Ukrainian"), chosen, seeds)
    if size == "quick":
        steps, few = Stage(6, 2, 4, 2), Stage(4, 2, 4, 2)
        sizes = {"shots": (8,), "train": 50, "val": 8, "test": 12, "pool": 32}
        return RoutingPlan(
            ("Asturian", "Manx"), ("Galician", "Welsh"), chosen, seeds, together=steps, transfer=few, **sizes
        )
    few = Stage(40, len(SOME_HELD_OUT), 6, 4)
    return RoutingPlan(SOME, SOME_HELD_OUT, chosen, seeds, shots=(32,), together=Stage(120, 4, 16, 4), transfer=few)
