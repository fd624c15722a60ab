"""What a demonstration compares: tasks, methods, and how each is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from taskfold.data import Source, parse_source
from taskfold.methods import FTN, FineTuning, HeadNorm, HeadOnly, LoRA, Method
from taskfold.threads import Choice
from taskfold.train import OptimizerSettings, Settings

Compare = Literal["default", "all"]

# Images for validation and test. UCI digits has 1,797 in all.
_HELD_OUT = {"mnist": (300, 1000), "digits": (190, 359), "animals": (300, 1000), "fashion-mnist": (300, 1000)}


@dataclass(frozen=True)
class Entry:
    """One method as it is compared.

    Attributes:
        label: its row in the table.
        method: the method.
        lr: learning rate of its factors, or of the weights that it copies.
        others: that of its normalisation and head. Both: see `experiments/learning_rates.py`.
    """

    label: str
    method: Method
    lr: float = 1e-2
    others: float = 2e-3

    def settings(self, plan: Plan, seed: int) -> Settings:
        """How it is trained; not all methods have all of these groups."""
        others = OptimizerSettings(lr=self.others)
        return Settings(
            epochs=plan.epochs,
            batch_size=plan.batch_size,
            seed=seed,
            optimizers={"factors": OptimizerSettings(lr=self.lr), "norm": others, "head": others},
            warmup=0.1,
            threads=plan.threads,
        )


@dataclass(frozen=True)
class Plan:
    """A demonstration.

    Attributes:
        sources: the tasks, by name.
        entries: the methods; the last factorised one is saved, served and shown.
        size: pixels.
        proof: test images whose outputs are compared bit for bit, and rows of the mixed batch.
        threads: of torch in training; see `taskfold.threads`.
        processes: that train the methods side by side, and share the cores; see `taskfold.processes`.
    """

    sources: dict[str, Source]
    entries: tuple[Entry, ...]
    seeds: tuple[int, ...] = (0,)
    size: int = 64
    epochs: int = 3
    batch_size: int = 32
    proof: int = 64
    threads: Choice = None
    processes: int = 1


def plan(compare: Compare = "default", *, seeds: int | tuple[int, ...] = 1, quick: bool = False) -> Plan:
    """The demonstration of that name.

    Args:
        compare: `default` (head only, FTN, fine-tuning) or `all` (with head + normalisation, LoRA, and FTN at ranks
            1, 4 and 16).
        seeds: repetitions, ≥ 1; or the seeds themselves.
        quick: the same steps in seconds: two tasks, few small images, one epoch.

    Raises:
        ValueError: no such comparison, or seeds < 1.
    """
    one_of("compare", compare, Compare)
    chosen = tuple(range(seeds)) if isinstance(seeds, int) else seeds
    if not chosen:
        raise ValueError(f"seeds must be ≥ 1, found {seeds}")
    ranks = (16,) if compare == "default" else (1, 4, 16)
    ftn = [Entry(f"FTN R={rank}", FTN(rank=rank)) for rank in ranks]
    head, tuning = Entry("head only", HeadOnly(), others=5e-3), Entry("fine-tuning", FineTuning(), lr=5e-4, others=5e-4)
    entries = [head, *ftn, tuning]
    if compare == "all":
        lora = Entry("LoRA r=4 + norm", LoRA(rank=4, layers="convolution", norm=True))
        entries[1:1] = [Entry("head + norm", HeadNorm(), others=5e-3), lora]
    if quick:
        sources = {name: _source(name, (64, 32, 48)) for name in ("mnist", "digits")}
        return Plan(sources, tuple(entries), chosen, size=32, epochs=1, batch_size=16, proof=16)
    # By default it must be done in minutes on two cores.
    train = 600 if compare == "default" else 1000
    sources = {name: _source(name, (train, *held)) for name, held in _HELD_OUT.items()}
    return Plan(sources, tuple(entries), chosen)


def one_of(name: str, value: object, choices: Any) -> None:
    """A setting is one of the values that a `Literal` has.

    Raises:
        ValueError: it is not.
    """
    if value not in get_args(choices):
        raise ValueError(f"{name}={value!r} is not known; choose one of {', '.join(get_args(choices))}")


def check_choices(size: object, sizes: Any, compare: object, seeds: tuple[int, ...]) -> None:
    """What plans in several sizes have in common.

    Args:
        size: one of `sizes`, a `Literal`.
        compare: a `Compare`.
        seeds: at least one.

    Raises:
        ValueError: no such size or comparison, or no seeds.
    """
    one_of("size", size, sizes)
    one_of("compare", compare, Compare)
    if not seeds:
        raise ValueError("seeds must hold at least one, found none")


def _source(name: str, sizes: tuple[int, int, int]) -> Source:
    train, val, test = sizes
    return parse_source(
        {
            "kind": "packaged",
            "name": name,
            # Of the training images at hand; what is asked for must be there.
            "val_fraction": 0.15,
            "train_size": train,
            "val_size": val,
            "test_size": test,
        }
    )
