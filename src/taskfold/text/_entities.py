"""Entities in texts (names of people, places and things): several words with one class."""

from __future__ import annotations

from collections.abc import Sequence

Entity = tuple[int, int, str]
"""First word, the word after the last one, class."""


def are_entities(tags: Sequence[str]) -> bool:
    """Whether classes of words have the IOB form: `O`, and `B-city` and `I-city` for a first and a later word.

    Example:
        >>> are_entities(["O", "B-city", "I-city"]), are_entities(["NOUN", "VERB"])
        (True, False)
    """
    return any(tag != "O" for tag in tags) and all(tag == "O" or tag[:2] in ("B-", "I-") for tag in tags)


def entities(tags: Sequence[str]) -> set[Entity]:
    """The entities in the words of one text; `I-` begins one if the word before is not of its class.

    Example:
        >>> sorted(entities(["B-city", "I-city", "O", "B-name", "B-name"]))
        [(0, 2, 'city'), (3, 4, 'name'), (4, 5, 'name')]
    """
    found, first = set[Entity](), 0
    for n, (tag, after) in enumerate(zip(tags, [*tags[1:], "O"], strict=True)):
        if tag == "O":
            first = n + 1
        elif after != f"I-{tag[2:]}":
            found.add((first, n + 1, tag[2:]))
            first = n + 1
    return found


def entity_f1(said: Sequence[Sequence[str]], right: Sequence[Sequence[str]]) -> float | None:
    """F1 over the entities of all texts, which count if all words and the class are right; None: there are none.

    Args:
        said: the predicted class of each word of each text.
        right: the right classes.

    Example:
        >>> entity_f1([["B-city", "O", "B-name"]], [["B-city", "I-city", "B-name"]])
        0.5
    """
    found, wanted = ([{(n, *one) for one in entities(tags)} for n, tags in enumerate(texts)] for texts in (said, right))
    count = sum(map(len, [*found, *wanted]))
    both = sum(len(mine & theirs) for mine, theirs in zip(found, wanted, strict=True))
    return 2 * both / count if count else None
