from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Example:
    """An example of a text task: a text and its answer.

    Attributes:
        input: the text the network reads.
        target: the text it should write.
        choices: the answers to choose among, for rank classification; none: open-ended.
        answer: the index of `target` in `choices`; None: looked up.

    Raises:
        ValueError: the target is empty, choices are empty or not distinct, or answer, target and choices disagree.

    Example:
        >>> Example("Is water wet?", "yes", ("yes", "no")).answer
        0
    """

    input: str
    target: str
    choices: tuple[str, ...] = ()
    answer: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "choices", tuple(self.choices))
        if not self.target:
            raise ValueError(f"target must not be empty; the input is {_short(self.input)}")
        if not self.choices:
            if self.answer is not None:
                raise ValueError(f"answer must be None without choices, found {self.answer}; give choices")
            return
        if not all(self.choices):
            raise ValueError(f"choices must not be empty texts, found {self.choices}; leave the empty one out")
        if len(set(self.choices)) != len(self.choices):
            raise ValueError(f"choices must be distinct, found {self.choices}; leave the repeated one out")
        if self.answer is None:
            if self.target not in self.choices:
                raise ValueError(f"target must be one of choices {self.choices}, found {self.target!r}")
            object.__setattr__(self, "answer", self.choices.index(self.target))
        elif not 0 <= self.answer < len(self.choices):
            raise ValueError(f"answer must be in 0 to {len(self.choices) - 1}, found {self.answer}")
        elif self.choices[self.answer] != self.target:
            raise ValueError(
                f"target must be choices[{self.answer}], which is {self.choices[self.answer]!r}, found {self.target!r}"
            )


def _short(text: str, limit: int = 60) -> str:
    return repr(text if len(text) <= limit else f"{text[:limit]}…")
