"""Text tasks: examples, batches, the loss of few-shot transfer, and predictions."""

from ._batch import TextBatch
from ._collator import Collator
from ._entities import are_entities, entities, entity_f1
from ._exact_match import exact_match
from ._example import Example
from ._few_shot import few_shot, few_shot_split
from ._objective import Objective
from ._predict import RankResult, generate, rank_classify

__all__ = [
    "Collator",
    "Example",
    "Objective",
    "RankResult",
    "TextBatch",
    "are_entities",
    "entities",
    "entity_f1",
    "exact_match",
    "few_shot",
    "few_shot_split",
    "generate",
    "rank_classify",
]
