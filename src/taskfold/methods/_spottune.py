from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from ..factors import check_number
from ..kinds import Patterns
from ..layers import Composition, Everything, Policies, Statistics
from ._base import Method

__all__ = ["SpotTune"]


@dataclass(frozen=True)
class SpotTune(Method):
    """A small net chooses the task's copy or the backbone's of each residual block, for each image.

    Guo et al., "SpotTune: Transfer Learning through Adaptive Fine-tuning", section 3. The task has a copy of the whole
    network, and a policy net of three residual blocks that sees the image. Its choice is a straight-through
    Gumbel-softmax in training, and the larger logit in evaluation. Copies start equal, so that a new task is the
    backbone exactly, whichever the net chooses. Layers outside of blocks are the task's for every image. On
    networks with residual blocks, found by what they do (see `residual_blocks`). Its tasks fold into no plain network,
    and no bank holds them.

    Args:
        temperature: the softmax's, > 0.
        noise: Gumbel noise in training.
        start: the initial lead of the logit of the task's copy, so that every copy trains; the authors: 0.
        targets: shell patterns over names of blocks; `!pattern` leaves blocks out, which then are the task's.
        statistics: as for `FTN`.

    Raises:
        ValueError: a setting is out of its range; when a task is added, the network has no residual blocks.

    Example:
        >>> import timm
        >>> import taskfold as tfold
        >>> net = timm.create_model("resnet18", num_classes=0, channels=(8, 8, 8, 8), layers=(1, 1, 1, 1))
        >>> model = tfold.MultiTask(net, tfold.SpotTune())
        >>> model.add_task("flowers", head=5).counts()["policy"]
        1166504
    """

    temperature: float = 5.0
    noise: bool = True
    start: float = 1.0
    targets: Patterns = "*"
    statistics: Statistics = "backbone"
    name: ClassVar[str] = "spottune"
    from_the_start: ClassVar[str] = "the policy net sees the image, which the first stage is given"

    def __post_init__(self) -> None:
        check_number("temperature", self.temperature, "above 0", lambda temperature: temperature > 0)
        check_number("start", self.start, "≥ 0", lambda start: start >= 0)
        super().__post_init__()

    def compose(self, network: nn.Module) -> Composition:
        return Composition(
            (Everything(self.statistics), Policies(self.targets, self.temperature, self.noise, self.start))
        )
