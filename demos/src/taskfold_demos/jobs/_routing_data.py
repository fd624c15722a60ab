"""Words of many languages as text tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from taskfold import MultiTask
from taskfold.text import Collator, Example, Objective, TextBatch
from taskfold.train import LossPerSample

from .. import lemmas
from ._languages import CODES
from ._routing_plan import RoutingPlan

Bundle = tuple[Example, ...]


@dataclass(frozen=True)
class Words:
    """One language's examples: an inflected form, its dictionary form, and wrong choices."""

    train: tuple[Example, ...]
    val: tuple[Example, ...]
    test: tuple[Example, ...]

    @classmethod
    def of(cls, language: str, train: int, val: int, test: int, max_bytes: int) -> Words:
        """The same words for every seed; which few of `train` are learned from is for the seed to say."""
        task = lemmas.lemma_task(CODES[language], train=train, val=val, test=test, max_bytes=max_bytes)

        def examples(pairs: Sequence[lemmas.Pair]) -> tuple[Example, ...]:
            # The right one is not always the first.
            return tuple(
                Example(form, lemma, tuple(sorted((lemma, *task.distractors((form, lemma)))))) for form, lemma in pairs
            )

        return cls(examples(task.train), examples(task.val), examples(task.test))


def words_of(plan: RoutingPlan) -> dict[str, Words]:
    """The words of all languages of a plan."""
    many = {name: Words.of(name, plan.train, plan.val, 0, plan.max_bytes) for name in plan.training}
    few = {name: Words.of(name, plan.pool, plan.val, plan.test, plan.max_bytes) for name in plan.held_out}
    return many | few


class Bundles(Dataset[Bundle]):
    """A few words of one language as one sample, others together in each epoch: a batch then has few languages."""

    def __init__(self, examples: Sequence[Example], size: int, seed: int) -> None:
        self.examples, self.size, self.seed = examples, size, seed
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Mix anew."""
        self.order = np.random.default_rng([self.seed, epoch]).permutation(len(self.examples))

    def __len__(self) -> int:
        return len(self.examples) // self.size

    def __getitem__(self, index: int) -> Bundle:
        return tuple(self.examples[n] for n in self.order[index * self.size : (index + 1) * self.size])


def bundled(objective: Objective) -> LossPerSample:
    """The mean loss of each bundle."""

    def loss(model: MultiTask, batch: Any, tasks: Sequence[str]) -> Tensor:
        size = len(batch) // len(tasks)
        return objective(model, batch, [name for name in tasks for _ in range(size)]).view(-1, size).mean(1)

    return loss


def collating(collator: Collator) -> Callable[[list[Bundle]], TextBatch]:
    """Bundles → one batch of all their examples."""
    return lambda bundles: collator([example for bundle in bundles for example in bundle])
