"""Colours and marks with the same meaning in every figure, in light and in dark."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..methods import names

# Name -> (light, dark). Figures are drawn in the light tone; the page swaps it for a variable of that name.
# The hues follow Okabe and Ito's colour-blind-safe set, darkened or lightened to stay readable as text.
TONES: dict[str, tuple[str, str]] = {
    "ink": ("#1d2330", "#e8eaf0"),
    "muted": ("#5a6372", "#a2abba"),
    "grid": ("#dfe3e9", "#363d4a"),
    "ftn": ("#0068a8", "#5ab4ee"),
    "fine-tuning": ("#c24e00", "#ff9350"),
    "lora": ("#a5437f", "#e79ac9"),
    "head-only": ("#6d7584", "#98a1b0"),
    "head-norm": ("#00795a", "#35c79d"),
    "other-1": ("#9a6700", "#f0b93a"),
    "other-2": ("#6a3d9a", "#b79bea"),
    "other-3": ("#656b00", "#ccd04e"),
}
# Common references look the same on every page; other names get their marks by the rules below.
FAMILIES = {"ftn": "o", "fine-tuning": "D", "lora": "s", "head-norm": "^", "head-only": "v"}
OTHERS = ("other-1", "other-2", "other-3")
MARKERS = ("P", "X", "h", "p", "*", "d", "<", ">")
DASHES = ("-", "--", ":", "-.")

INK, MUTED, GRID = (TONES[name][0] for name in ("ink", "muted", "grid"))


@dataclass(frozen=True)
class Mark:
    """The mark of a label: ``tone`` names its colour, lines of one method differ in dash and strength."""

    tone: str
    marker: str
    dash: str = "-"
    alpha: float = 1.0

    @property
    def color(self) -> str:
        """The light tone as #rrggbb."""
        return TONES[self.tone][0]


def family(method: str) -> str:
    """The family that shares a colour: a known one, or the first word of the method's name.

    >>> family("ftn-qv"), family("fine-tuning"), family("poly-z")
    ('ftn', 'fine-tuning', 'poly')
    """
    first = method.partition("-")[0]
    return method if method in FAMILIES else first


def method_of(label: str) -> str:
    """The method of a label by its text: the longest prefix that is a method's name, or the first word.

    >>> method_of("LoRA shared"), method_of("TensorPoly-I, order 2"), method_of("hard sharing"), method_of("FTN R=8")
    ('lora', 'tensorpoly-i', 'hard-sharing', 'ftn')
    """
    words = [word.rstrip(",:;") for word in label.lower().split()] or [""]
    starts = ("-".join(words[:count]) for count in range(len(words), 1, -1))
    known = frozenset(names())
    return next((start for start in starts if start in known), words[0])


def marks(labels: Sequence[tuple[str, str]]) -> dict[str, Mark]:
    """A mark for each (label, method), smallest method first; within a family later labels are stronger.

    A family has one tone, a method one marker, and no two methods share both. References have their own;
    another name's checksum gives its first choice, and the next one if that is taken on this page. Families
    share tones only where there are more of them than tones. Labels of one tone differ in dash while dashes last.
    """
    members: dict[str, list[str]] = {}
    methods: dict[str, set[str]] = {}
    for label, method in labels:
        members.setdefault(family(method), []).append(label)
        methods.setdefault(family(method), set()).add(method)
    tones = _tones(members)
    markers: dict[str, str] = {}
    for tone in set(tones.values()):
        markers |= _markers(method for name in members if tones[name] == tone for method in methods[name])
    of, lines, result = dict(labels), dict.fromkeys(tones.values(), 0), {}
    for name, group in members.items():
        for position, label in enumerate(group):
            behind = len(group) - 1 - position
            dash = DASHES[min(lines[tones[name]] + behind, len(DASHES) - 1)]
            result[label] = Mark(tones[name], markers[of[label]], dash, max(0.5, 1 - 0.2 * behind))
        lines[tones[name]] += len(group)
    return result


def _tones(families: Iterable[str]) -> dict[str, str]:
    """The tone of each family, independent of their order."""
    found = {name: name for name in families if name in FAMILIES}
    spare = [name for name in FAMILIES if name not in found]
    used: list[str] = []
    for name in sorted(set(families) - found.keys()):
        choices = _turned(OTHERS, name) + spare  # grey, for references, comes last
        found[name] = min(choices, key=used.count)
        used.append(found[name])
    return found


def _markers(methods: Iterable[str]) -> dict[str, str]:
    """Distinct markers for the methods of one tone, independent of their order."""
    ordered = sorted(set(methods))
    found = {method: FAMILIES[method] for method in ordered if method in FAMILIES}
    for method in ordered:
        choices = [*_turned(MARKERS, method), *FAMILIES.values()]
        free = [marker for marker in choices if marker not in found.values()]
        found.setdefault(method, free[0] if free else f"${len(found)}$")  # a number if no shape is left
    return found


def _turned(choices: Sequence[str], name: str) -> list[str]:
    """The choices, rotated by the name's checksum, which is the same in every process."""
    start = zlib.crc32(name.encode()) % len(choices)
    return [*choices[start:], *choices[:start]]
