from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from ..layers import Composition, PromptInit, Prompts
from ..routing import sharing
from ._base import Method

__all__ = ["PromptTuning"]


@dataclass(frozen=True)
class PromptTuning(Method):
    """Prompt tuning: k rows of a task before the network's embedded input.

    Lester et al., "The Power of Scale for Parameter-Efficient Prompt Tuning", section 2; before the decoder's input
    too as in Liu et al., "Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning"
    (T-Few). Vision transformers have them before their tokens: Jia et al., "Visual Prompt Tuning", section 3.2.
    Rows are input, so that a task neither folds nor begins as the backbone.

    Args:
        tokens: k ≥ 1; k d numbers before each sequence of tokens of width d.
        decoder: a decoder beside an encoder has k rows of its own; false: only the encoder has rows, as in PEFT.
        init: `authors` (copies of the embeddings of random words; in vision transformers Xavier's uniform numbers) or
            `normal` (N(0, 0.02)).
        sharing: `private` (a task's own rows) or `shared`.

    Raises:
        ValueError: a setting is out of its range; when a task is added, a network whose tokens are not known.

    Example:
        >>> import timm, taskfold as tfold
        >>> net = timm.create_model("vit_tiny_patch16_224", depth=2, num_classes=0)
        >>> tfold.MultiTask(net, tfold.PromptTuning(tokens=4)).add_task("flowers").counts()  # 4 · 192
        {'factors': 0, 'routing': 0, 'norm': 0, 'head': 0, 'prompt': 768}
    """

    tokens: int = 10
    decoder: bool = True
    init: PromptInit = "authors"
    sharing: str | Mapping[str, Any] = "private"
    name: ClassVar[str] = "prompt"
    from_the_start: ClassVar[str] = "rows come in before the first stage"

    @property
    def parts(self) -> tuple[Prompts]:
        return (Prompts(self.tokens, self.decoder, self.init, sharing(self.sharing)),)

    def compose(self, network: nn.Module) -> Composition:
        return Composition(self.parts)
