from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..factors import check_number, check_whole
from ..kinds import Patterns
from ..layers import Composition, Gates, Norms, Rest, Schedule, Statistics, gates_of, own_norms
from ..tasks import Task
from ._base import Method
from ._phases import Phase, Turn

__all__ = ["AdaShare"]

Trunk = Literal["common", "frozen"]
POLICY = "policy"


@dataclass(frozen=True)
class AdaShare(Method):
    """Each task runs or skips each residual block of a common network.

    Sun, Panda, Feris and Saenko, "AdaShare: Learning What To Share For Efficient Deep Multi-Task Learning", section 3.
    A task has two logits per block; u = Gumbel-softmax, and the block's output is u₀ · block(x) + u₁ · shortcut(x). In
    evaluation the larger logit decides: a skipped block is its shortcut. Logits start equal, which runs every block: a
    new task is the backbone exactly. On networks with residual blocks, found by what they do (see `residual_blocks`).

    Args:
        trunk: `common`: all tasks train one copy of the network's other tensors, which is in the model's inventory;
            `frozen`: the backbone's tensors.
        norm: each task has its own normalisation.
        statistics: as for `FTN`; None: `own` on a common trunk, where the network has any, else `backbone`.
        sparsity: factor of Σ over blocks of the cross-entropy towards skipping, over the number of blocks.
        sharing: factor of Σ over pairs of tasks and blocks of `((l + 1) / L) · |z_t − z_t'|`, z the logit of running.
        warmup: share of the training in which every block runs and no logit moves, 0 ≤ warmup < 1.
        rounds: parts of the rest, at whose ends the temperature falls, ≥ 1.
        temperature: the softmax's at the start, > 0.
        cooling: the temperature's factor after each round, 0 < cooling ≤ 1.
        curriculum: rounds after which the gate of one more block counts, from the last block on; 0: all count at once.
        noise: Gumbel noise in training; without it gates are a softmax.
        alternate: weights and logits train in turn, each with a pass over the data in every epoch.
        targets: shell patterns over names of blocks; `!pattern` leaves blocks out, which then always run.

    Raises:
        ValueError: a setting is out of its range; when a task is added, the network has no residual blocks.

    Example:
        >>> import timm
        >>> import taskfold as tfold
        >>> net = timm.create_model("resnet18", num_classes=0, channels=(8, 8, 8, 8), layers=(1, 1, 1, 1))
        >>> model = tfold.MultiTask(net, tfold.AdaShare(trunk="frozen"))
        >>> model.add_task("flowers", head=5).counts()["policy"]  # two logits for each of four blocks
        8
    """

    trunk: Trunk = "common"
    norm: bool = True
    statistics: Statistics | None = None
    sparsity: float = 0.01
    sharing: float = 0.1
    warmup: float = 0.2
    rounds: int = 32
    temperature: float = 5.0
    cooling: float = 0.965
    curriculum: float = 1.0
    noise: bool = True
    alternate: bool = True
    targets: Patterns = "*"
    name: ClassVar[str] = "adashare"

    def __post_init__(self) -> None:
        if self.trunk not in get_args(Trunk):
            raise ValueError(f"trunk={self.trunk!r} is not known; choose one of {', '.join(get_args(Trunk))}")
        check_whole("rounds", self.rounds, 1)
        for name in ("sparsity", "sharing", "curriculum"):
            check_number(name, getattr(self, name), "≥ 0", lambda v: v >= 0)
        check_number("warmup", self.warmup, "from 0 and below 1", lambda warmup: 0 <= warmup < 1)
        check_number("temperature", self.temperature, "above 0", lambda temperature: temperature > 0)
        check_number("cooling", self.cooling, "above 0, 1 at the most", lambda cooling: 0 < cooling <= 1)
        super().__post_init__()

    @property
    def schedule(self) -> Schedule:
        """The schedule of the gates in training."""
        return Schedule(self.warmup, self.rounds, self.temperature, self.cooling, self.curriculum, self.noise)

    @property
    def phases(self) -> tuple[Phase, ...]:
        return (Phase(turns=(Turn(), Turn((POLICY,)))),) if self.alternate else ()

    def compose(self, network: nn.Module) -> Composition:
        gates = Gates(self.targets, self.schedule)
        if self.trunk == "frozen":
            return Composition((*own_norms(self.norm, self.statistics), gates))
        norms = (Norms(True, self.statistics),) if self.norm else ()
        return Composition((*norms, Rest(norms=not self.norm), gates))

    def penalty(self, task: Task, progress: float) -> Tensor | None:
        gates = gates_of(task).values()
        logits: list[Tensor] = [
            one.own["logits"] for one in gates if one.schedule.counts(one.place, one.blocks, progress)
        ]
        if not self.sparsity or not logits:
            return None
        return self.sparsity * -F.log_softmax(torch.stack(logits), -1)[:, 1].sum() / len(gates)

    def penalty_between(self, task: Task, others: Sequence[Task], progress: float) -> Tensor | None:
        mine, terms = gates_of(task), []
        for other in others:
            theirs = gates_of(other)
            for path, one in mine.items():
                if path in theirs and one.schedule.counts(one.place, one.blocks, progress):
                    apart = (one.own["logits"][0] - theirs[path].own["logits"][0]).abs()
                    terms.append(apart * (one.place + 1) / one.blocks)
        # The sum has each pair twice, once for either task.
        return self.sharing / 2 * torch.stack(terms).sum() if self.sharing and terms else None
