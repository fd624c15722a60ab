"""Lemmatisation as text-to-text tasks: an inflected form in, its dictionary form out; one task per language.

The pairs are those of simplemma, real dictionaries of 54 languages. Whether a lemma belongs to training, validation or
test is decided by its letters alone: what is trained on with one seed, size or language is not tested on with another.
"""

from __future__ import annotations

import hashlib
import unicodedata
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from functools import cache, cached_property
from heapq import nsmallest
from importlib import import_module
from typing import Literal

from taskfold.text import Example

BACKBONE = ("el", "enm", "eo", "fr", "hu", "hy", "mk", "pl", "sw", "tr")
"""Languages that a backbone may be made from; none is a task."""
TRAINING = tuple(
    "ast bg ca cs cy da de en es fi ga gv hbs id is it la lb lt ms nb nl pt ro ru se sl sq sv tl".split()  # noqa: SIM905
)
"""Thirty languages for multi-task training."""
HELD_OUT = ("gl", "nn", "sk", "et", "gd", "lv", "uk")
"""Languages to transfer to: Romance, Germanic, Slavic, Uralic, Celtic, Baltic, and Slavic in Cyrillic letters."""

MARK = ">"
"""Stands before a form that is to be lemmatised. A T5 knows places only by their distance to each other: from a mark at
the beginning it can count. `packaged:lemma-t5` was made with it."""

Pair = tuple[str, str]
"""A form and its lemma."""
Rule = tuple[str, str, str, str]
"""What changes around the common core: prefix and suffix of the form, prefix and suffix of the lemma."""

_SCRIPTS = {
    "ar": "ARABIC", "bg": "CYRILLIC", "el": "GREEK", "fa": "ARABIC", "grc": "GREEK", "he": "HEBREW",
    "hi": "DEVANAGARI", "hy": "ARMENIAN", "ka": "GEORGIAN", "mk": "CYRILLIC", "ml": "MALAYALAM", "ru": "CYRILLIC",
    "uk": "CYRILLIC",
}  # fmt: skip
_PARTS = {"test": 0.3, "val": 0.5, "train": 1.0}  # upper bounds on a lemma's place in [0, 1)
_COPIES = 0.2  # forms that are their own lemma: at most this share, else copying would be the answer
_RULE_PAIRS = 512


@dataclass(frozen=True)
class LemmaTask:
    """One language's pairs, and wrong answers to choose among.

    Attributes:
        language: as simplemma writes it: `en`.
        train: drawn with the seed; a smaller draw is the beginning of a larger one.
        val: the same for every seed.
        test: the same for every seed.
        rules: what this language does to its words, with counts, from a sample of lemmas that are neither in `val`
            nor in `test`; the same for every seed and size, so that every run answers the same questions.
    """

    language: str
    train: tuple[Pair, ...]
    val: tuple[Pair, ...]
    test: tuple[Pair, ...]
    rules: Mapping[Rule, int] = field(repr=False)

    def distractors(self, pair: Pair, count: int = 3) -> tuple[str, ...]:
        """Wrong answers for a pair. Those of a training pair stem from the training pairs alone."""
        return distractors(pair, self._own_rules if pair in self._own else self.rules, count)

    def examples(self, part: Literal["train", "val", "test"], choices: int = 4) -> tuple[Example, ...]:
        """A part as examples: the marked form, the lemma, and `choices` answers, the lemma at any place among them.

        Args:
            part: `train`, `val` or `test`.
            choices: 0 or 1: none, the answer is open.

        Raises:
            ValueError: no such part.
        """
        if part not in _PARTS:
            raise ValueError(f"part must be one of {', '.join(_PARTS)}; found {part!r}")
        return tuple(self._example(pair, choices) for pair in getattr(self, part))

    def _example(self, pair: Pair, choices: int) -> Example:
        form, lemma = pair
        if choices < 2:
            return Example(MARK + form, lemma)
        wrong = self.distractors(pair, choices - 1)
        place = _digest("place", f"{form} {lemma}") % choices
        return Example(MARK + form, lemma, (*wrong[:place], lemma, *wrong[place:]))

    @cached_property
    def _own(self) -> frozenset[Pair]:
        return frozenset(self.train)

    @cached_property
    def _own_rules(self) -> Mapping[Rule, int]:
        return learn_rules(self.train)


def lemma_task(
    language: str, *, train: int, val: int, test: int, seed: int = 0, max_bytes: int = 24, max_forms: int = 2
) -> LemmaTask:
    """Pairs of one language, split by lemma.

    Args:
        language: one of simplemma's 54, such as those in `TRAINING`.
        train: number of pairs; likewise `val`, `test`.
        seed: draws the training pairs.
        max_bytes: longest form and lemma, in bytes of UTF-8.
        max_forms: most forms of one lemma; a second is drawn only when every lemma has given one.

    Raises:
        ValueError: no such language, a negative or zero number, or fewer pairs than asked for.
        ImportError: simplemma is not installed.

    Example:
        >>> task = lemma_task("ms", train=32, val=8, test=8)
        >>> len(task.train), len(task.distractors(task.test[0]))
        (32, 3)
    """
    sizes = {"train": train, "val": val, "test": test}
    for name, number in {**sizes, "max_bytes": max_bytes, "max_forms": max_forms}.items():
        least = 0 if name in sizes else 1
        if number < least:
            raise ValueError(f"lemma_task({language!r}): {name} must be at least {least}, found {number}")
    dictionary = _dictionary(language)
    good = _words(language, max_bytes)
    places: dict[str, list[str]] = {part: [] for part in _PARTS}
    for lemma in set(dictionary.values()):
        if good(lemma):
            place = _digest("part", lemma) / 2**64
            places[next(part for part, bound in _PARTS.items() if place < bound)].append(lemma)
    draws = [("train", f"seed {seed}", train), ("val", "", val), ("test", "", test), ("train", "rules", _RULE_PAIRS)]
    chosen = [_some(places[part], f"{part} {salt}", 4 * size + 256) for part, salt, size in draws]
    forms: dict[str, list[str]] = defaultdict(list, {lemma: [] for lemmas in chosen for lemma in lemmas})
    for form, lemma in dictionary.items():
        if lemma in forms:
            forms[lemma].append(form)
    for lemma, found in forms.items():
        clean = filter(good, nsmallest(4 * max_forms, found, _mixed))
        forms[lemma] = [form for form in clean if form[0].isupper() == lemma[0].isupper()][:max_forms]
    drawn = [_fill(lemmas, forms, size) for lemmas, (_, _, size) in zip(chosen, draws, strict=True)]
    for pairs, (part, _, size) in zip(drawn[:3], draws, strict=False):
        if len(pairs) < size:
            raise ValueError(
                f"lemma_task({language!r}): {part} must be at most {len(pairs)}, the pairs that simplemma has of "
                f"at most {max_bytes} bytes; found {size}: ask for fewer, or raise max_bytes or max_forms"
            )
    first, second, third, sample = map(tuple, drawn)
    return LemmaTask(language, first, second, third, learn_rules(sample))


def learn_rules(pairs: Iterable[Pair]) -> Mapping[Rule, int]:
    """What lemmatising changes at both ends of the words, and how often, the most frequent first.

    Example:
        >>> learn_rules([("houses", "house"), ("going", "go"), ("doing", "do")])
        {('', 'ing', '', ''): 2, ('', 's', '', ''): 1}
    """
    counts = Counter(_rule(form, lemma) for form, lemma in pairs)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def distractors(pair: Pair, rules: Mapping[Rule, int], count: int = 3) -> tuple[str, ...]:
    """Wrong lemmas that look right: the form itself, then what other words' rules make of it.

    In every other question the lemma without its last letter is among them, else the shortest answer would be a good
    guess.

    Args:
        pair: form and lemma.
        rules: as `learn_rules` gives them.
        count: how many; so many distinct ones there always are, none of them the lemma.

    Example:
        >>> distractors(("singing", "sing"), {("", "ing", "", ""): 2, ("", "ing", "", "e"): 1, ("", "g", "", ""): 1})
        ('singing', 'sin', 'singe')
    """
    form, lemma = pair
    found = {form: None}
    if len(lemma) > 2 and _digest("short", f"{form} {lemma}") % 2:
        found[lemma[:-1]] = None
    # A rule that matches more of the word is more tempting than its frequency tells.
    fits = [(-n * 4 ** min(len(a) + len(b), 4), (a, b, x, y)) for (a, b, x, y), n in rules.items() if _fits(form, a, b)]
    for _, (a, b, x, y) in sorted(fits):
        found[x + form[len(a) : len(form) - len(b)] + y] = None
    found |= dict.fromkeys(form[:end] for end in range(len(form) - 1, 0, -1))
    found |= dict.fromkeys(form + form[-1] * more for more in range(1, count + 2))
    return tuple(word for word in found if word != lemma)[:count]


def _fits(form: str, prefix: str, suffix: str) -> bool:
    return len(form) > len(prefix) + len(suffix) and form.startswith(prefix) and form.endswith(suffix)


def _rule(form: str, lemma: str) -> Rule:
    core = SequenceMatcher(None, form, lemma, autojunk=False).find_longest_match()
    return form[: core.a], form[core.a + core.size :], lemma[: core.b], lemma[core.b + core.size :]


def _dictionary(language: str) -> Mapping[str, str]:
    try:
        library = import_module("simplemma.strategies.dictionaries.dictionary_factory")
    except ModuleNotFoundError as error:
        raise ImportError("lemmas need simplemma: pip install simplemma==2.0.0") from error
    try:
        return library.DefaultDictionaryFactory(cache_max_size=1).get_dictionary(language)
    except ValueError:
        known = " ".join(sorted(library.SUPPORTED_LANGUAGES))
        raise ValueError(f"language must be one of {known}; found {language!r}") from None


def _words(language: str, max_bytes: int) -> Callable[[str], bool]:
    script = _SCRIPTS.get(language, "LATIN")

    @cache
    def letter(char: str) -> bool:
        return unicodedata.category(char)[0] in "LM" and unicodedata.name(char, "").startswith(script)

    def good(word: str) -> bool:
        short = 0 < len(word.encode()) <= max_bytes
        return (
            short
            and all(map(letter, word))
            and not any(map(str.isupper, word[1:]))
            and unicodedata.is_normalized("NFC", word)
        )

    return good


def _digest(salt: str, word: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{salt} {word}".encode(), digest_size=8).digest())


def _mixed(form: str) -> int:
    return zlib.crc32(form.encode())  # of millions of forms: good enough to choose among one lemma's, and quick


def _some(lemmas: Sequence[str], salt: str, most: int) -> list[str]:
    return nsmallest(most, lemmas, key=lambda lemma: _digest(salt, lemma))


def _fill(lemmas: Sequence[str], forms: Mapping[str, Sequence[str]], size: int) -> list[Pair]:
    """Every lemma's first form, then every lemma's second, … until there are enough."""
    pairs: list[Pair] = []
    copies = 0
    for turn in range(max((len(forms[lemma]) for lemma in lemmas), default=0)):
        for lemma in lemmas:
            if len(pairs) == size:
                return pairs
            if turn < len(forms[lemma]):
                form = forms[lemma][turn]
                if form == lemma and copies + 1 > _COPIES * (len(pairs) + 1):
                    continue
                copies += form == lemma
                pairs.append((form, lemma))
    return pairs
