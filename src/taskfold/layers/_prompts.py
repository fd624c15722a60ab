"""The recipe of prompts: a task's rows before the token sequences of a network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from ..factors import Group, Leaf, check_whole
from ..interventions import Before
from ..kinds import LayerKind, Tensors, TokenStack, kind_of
from ..routing import Private, Shared, Sharing
from ..tasks import Leaves
from ._part import Part, When
from ._recipe import Fitting, Recipe
from ._ruled import Direct, leaves_of
from ._sequences import TokenSequence, token_sequences

PromptInit = Literal["authors", "normal"]
PROMPT = Group("prompt", lr=1e-2)
WORDS = (3, 5003)
"""Range of the word ids whose embeddings prompts start from."""


class Blank(Part):
    """Constant rows of zeros, `[count, width]`, which keep places in a sequence for an intervention."""

    def __init__(self, intervention: Before, count: int, width: int) -> None:
        super().__init__(intervention, Leaves({}, {}))
        self.count, self.width = count, width

    def tensors(self, kind: LayerKind, changed: Tensors, when: When) -> dict[str, Tensor]:
        return {"rows": torch.zeros(self.count, self.width, dtype=kind.dtype, device=kind.device)}


def parts_before(sequence: TokenSequence, count: int, crossed: int) -> Iterator[tuple[str, str, Before, bool]]:
    """Layer, part name and intervention where rows enter or leave a sequence, and whether they enter there."""
    if sequence.first == sequence.last:
        drop = sequence.role != "encoder"
        yield sequence.first, "rows", Before(True, drop, crossed * (sequence.role == "decoder")), True
    else:
        yield sequence.first, "rows", Before(True, False), True
        yield sequence.last, "end", Before(False, True), False


def check_rows(tokens: object, sharing: Sharing) -> None:
    """Checks the settings of rows before a sequence.

    Raises:
        ValueError: one is out of its range.
    """
    check_whole("tokens", tokens, 1)
    if not all(isinstance(rule, (Private, Shared)) for rule in sharing.rules()):
        raise ValueError(
            f"sharing={sharing.name!r} mixes the terms of a sum, and rows before a sequence are none; use 'private' or "
            "'shared'"
        )


def check_room(network: nn.Module, sequence: TokenSequence, tokens: int) -> None:
    """Checks that the rows leave positions for a text.

    Raises:
        ValueError: they leave none.
    """
    kind = kind_of(network.get_submodule(sequence.first))
    if isinstance(kind, TokenStack) and kind.positions is not None and tokens >= kind.positions:
        raise ValueError(
            f"layer {sequence.first!r}: tokens={tokens} leaves no position for a text, as max_position_embeddings is "
            f"{kind.positions}; lower it"
        )


@dataclass(frozen=True)
class Prompts(Recipe):
    """Rows before the embedded input of an encoder and of a decoder, or before the tokens of a vision transformer.

    Args:
        tokens: k ≥ 1 rows, k d numbers before each sequence.
        decoder: if the network has an encoder, put rows before the decoder's input too.
        init: `authors` (copies of the embeddings of random words; Xavier's uniform numbers for vision transformers)
            or `normal` (N(0, 0.02)).
        sharing: `Private` or `Shared`.

    Raises:
        ValueError: a setting is out of its range; when a task is added, a network whose token sequences are not known.
    """

    tokens: int = 10
    decoder: bool = True
    init: PromptInit = "authors"
    sharing: Sharing = field(default_factory=Private)

    def __post_init__(self) -> None:
        check_rows(self.tokens, self.sharing)
        if self.init not in get_args(PromptInit):
            raise ValueError(f"init={self.init!r} is not known; choose one of {', '.join(get_args(PromptInit))}")

    def fit(self, at: Fitting) -> Iterator[tuple[str, str, Part]]:
        for sequence in token_sequences(at.network):
            check_room(at.network, sequence, self.tokens)
            blank = sequence.role == "decoder" and not self.decoder
            count = 0 if blank else self.tokens
            for path, name, before, comes in parts_before(sequence, count, self.tokens):
                if blank or not comes:
                    yield path, name, Blank(before, count, sequence.width if comes else 0)
                else:
                    yield path, name, self._part(at, path, before, sequence.width)

    def _part(self, at: Fitting, path: str, before: Before, width: int) -> Part:
        kind, values = at.kind(path), {}
        start = nn.init.xavier_uniform_ if self.init == "authors" else partial(nn.init.normal_, std=0.02)
        if self.init == "authors" and isinstance(kind, TokenStack):
            values = {"rows": _words(kind, self.tokens)}
        specs = {"rows": Leaf((self.tokens, width), ("token", "inp"), start, PROMPT)}
        like = torch.empty(0, dtype=kind.dtype, device=kind.device)
        rule, prefix = at.rule(self.sharing, path)
        own, inventory = leaves_of(at, f"{prefix}/{path}/rows", specs, rule, like, values, path)
        return Direct(before, specs, rule, own, inventory)


@torch.no_grad()
def _words(stack: TokenStack, count: int) -> Tensor:
    table = stack.table
    known = int(getattr(table, "num_embeddings", WORDS[1]))
    first, last = min(WORDS[0], known - 1), min(WORDS[1], known)
    ids = torch.randint(first, last, (count,), device=stack.device)
    return kind_of(table).plain(ids[None])[0]
