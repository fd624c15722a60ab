"""Settings for reading, scoring and measuring texts, in a configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator
from torch import Tensor

from ..model import MultiTask
from ._collator import Collator, Cut
from ._objective import Objective
from ._scores import row_scores, token_scores
from ._text_data import Metric

Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Losses(BaseModel):
    """Weights of the three losses; see `Objective`.

    Attributes:
        lm: the weight of language modelling, −log p per token of the true target.
        mc: the weight of multiple choice, cross-entropy over the choices.
        ul: the weight of unlikelihood, −log(1 − p) per token of the wrong choices.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    lm: Weight = 1.0
    mc: Weight = 1.0
    ul: Weight = 1.0

    @model_validator(mode="after")
    def _something(self) -> Losses:
        if not (self.lm or self.mc or self.ul):
            raise ValueError("lm, mc and ul are all 0, so that nothing would be learned; give one of them a weight")
        return self


class TextSettings(BaseModel):
    """The settings of batches, losses and answers.

    Attributes:
        max_input, max_target: the most tokens, special ones included; longer texts are cut.
        cut: the end at which long inputs are cut.
        pad_to_multiple_of: the lengths of batches are rounded up to multiples of it; with 8 or more, fewer forms of
            batches need a compiler's trace, or a look at mixed rows.
        length_normalised: compare answers per token.
        num_beams: the number of beams in generation.
        losses: the weights of the three losses.
        metrics: the metrics on test data; null: those that fit the examples.

    Example:
        >>> TextSettings.model_validate({"max_input": 64, "losses": {"mc": 0, "ul": 0}}).choosing
        False
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_input: int = Field(default=256, ge=2)
    max_target: int = Field(default=256, ge=2)
    cut: Cut = "end"
    pad_to_multiple_of: PositiveInt = 1
    length_normalised: bool = True
    num_beams: PositiveInt = 1
    losses: Losses = Losses()
    metrics: tuple[Metric, ...] | None = Field(default=None, min_length=1)

    @property
    def choosing(self) -> bool:
        """Whether the training loss depends on wrong choices."""
        return bool(self.losses.mc or self.losses.ul)

    def collator(self, tokenizer: Any, *, causal: bool, choices: bool, start_token: int | None = None) -> Collator:
        """A collator with these settings."""
        return Collator(
            tokenizer,
            causal=causal,
            max_input=self.max_input,
            max_target=self.max_target,
            with_choices=choices,
            start_token=start_token,
            cut=self.cut,
            pad_to_multiple_of=self.pad_to_multiple_of,
        )

    def objective(self) -> Objective:
        return Objective(**self.losses.model_dump(), length_normalised=self.length_normalised)

    def measure(self) -> Callable[[MultiTask, Any, Sequence[str]], Mapping[str, Tensor]]:
        """The measures in validation, `[B]` each: the training loss, and whether the answer is right.

        An answer is right if it ranks above all other choices; without choices, if each of its tokens was the
        likeliest, so that greedy decoding would generate it.
        """
        objective, normalised = self.objective(), self.length_normalised

        def measure(model: MultiTask, batch: Any, tasks: Sequence[str]) -> Mapping[str, Tensor]:
            names = batch.row_tasks(tasks)
            made = model(**batch.inputs, task=names[0] if len(set(names)) == 1 else names)
            once = _Said(made)  # both use the network's output; it runs once
            scores = token_scores(once, batch, tasks)
            worth = row_scores(scores, scores.log_probabilities(), normalised)
            right = worth[batch.correct]
            rivals = worth.masked_fill(batch.correct, -torch.inf)
            best = torch.full_like(right, -torch.inf).scatter_reduce(0, batch.example, rivals, "amax")
            hits = scores.row_sums((scores.logits.argmax(1) == scores.token).float())
            written = (hits == scores.lengths)[batch.correct]
            alone = torch.tensor([count == 1 for count in batch.counts], device=right.device)
            return {
                "loss": objective(once, batch, tasks),
                "accuracy": torch.where(alone, written, right > best).float(),
            }

        return measure


class _Said(torch.nn.Module):
    """A network that returns an earlier output."""

    def __init__(self, output: Any) -> None:
        super().__init__()
        self.output = output

    def forward(self, **_: Any) -> Any:
        return self.output
