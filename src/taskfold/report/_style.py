"""Colours and marks that mean the same in every figure, in light and in dark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
FAMILIES = ("ftn", "fine-tuning", "lora", "head-only", "head-norm")
OTHERS = ("other-1", "other-2", "other-3")
MARKERS = {"ftn": "o", "fine-tuning": "D", "lora": "s", "head-only": "v", "head-norm": "^"}
OTHER_MARKERS = ("P", "X", "h")
DASHES = ("-", "--", ":", "-.")

INK, MUTED, GRID = (TONES[name][0] for name in ("ink", "muted", "grid"))


@dataclass(frozen=True)
class Mark:
    """How one label is drawn: ``tone`` names its colour, lines of one method differ in dash and strength."""

    tone: str
    marker: str
    dash: str = "-"
    alpha: float = 1.0

    @property
    def color(self) -> str:
        """The light tone as #rrggbb."""
        return TONES[self.tone][0]


def display(method: str) -> str:
    """A method's name as written in text.

    >>> display("ftn-qv"), display("lora"), display("poly")
    ('FTN-qv', 'LoRA', 'poly')
    """
    first, dash, rest = method.partition("-")
    return {"ftn": "FTN", "lora": "LoRA"}.get(first, first) + dash + rest


def family(method: str) -> str:
    """The family that shares a colour: a known one, or the first word of the method's name.

    >>> family("ftn-qv"), family("fine-tuning"), family("poly-z")
    ('ftn', 'fine-tuning', 'poly')
    """
    first = method.partition("-")[0]
    return method if method in FAMILIES else first


def method_of(label: str) -> str:
    """The method that a label names, where nothing else tells.

    >>> method_of("LoRA shared"), method_of("TensorPoly-I R=8"), method_of("fine-tuning"), method_of("head only")
    ('lora', 'tensorpoly-i', 'fine-tuning', 'head-only')
    """
    words = label.lower().split() or [""]
    whole = "-".join(words[:2])
    return whole if whole in FAMILIES else words[0]


def marks(labels: Sequence[tuple[str, str]]) -> dict[str, Mark]:
    """A mark for each (label, method), smallest method first; within a family later labels are stronger.

    Unknown families share the tones of their own, then those of known families that are not there.
    """
    members: dict[str, list[str]] = {}
    for label, method in labels:
        members.setdefault(family(method), []).append(label)
    unknown = [name for name in members if name not in FAMILIES]
    free = [*zip(OTHERS, OTHER_MARKERS, strict=True)]
    free += [(name, MARKERS[name]) for name in FAMILIES if name not in members]
    result = {}
    for name, group in members.items():
        tone, marker = free[unknown.index(name) % len(free)] if name in unknown else (name, MARKERS[name])
        for position, label in enumerate(group):
            behind = len(group) - 1 - position
            result[label] = Mark(tone, marker, DASHES[min(behind, len(DASHES) - 1)], max(0.5, 1 - 0.2 * behind))
    return result
