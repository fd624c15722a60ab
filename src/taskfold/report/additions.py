"""Packages' additions to results documents and reports: entry points of the group `taskfold.report`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import create_model

from .. import plugins
from .schema import Comparison, Part, Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Section:
    """A figure on the page: ``key`` is its anchor, ``caption`` explains it."""

    key: str
    title: str
    caption: str
    figure: Callable[[Results], Figure | None]


@dataclass(frozen=True)
class Chapter:
    """An entry of a document under a package's key, in the report.

    Attributes:
        key: the key, such as `gains`.
        index: its index there.
        part: the entry.
        tasks: names of its tasks, which the document must have.
        labels: labels of its methods, which get colours.
        headline: the first sentence of a report without runs.
        table: the table for the terminal; the template gets it filled in, as `filled`.
        sections: its figures; the template gets the drawn ones, as `drawn`.
        template: Jinja, with `chapter`, `part`, `filled`, `drawn` and the macros of the page.
    """

    key: str
    index: int
    part: Part
    tasks: tuple[str, ...]
    labels: tuple[str, ...]
    headline: str
    table: Comparison
    sections: tuple[Section, ...]
    template: str

    @property
    def place(self) -> str:
        """Its name in messages: `gains[0]`."""
        return f"{self.key}[{self.index}]"


class Addition:
    """The additions of a package; the defaults add nothing.

    Attributes:
        keys: further keys of a document, each for a list of parts of this type.
    """

    keys: ClassVar[Mapping[str, type[Part]]] = {}

    def figures(self, results: Results) -> Iterable[Section]:
        """Figures of the document's runs, shown before Taskfold's own."""
        return ()

    def beneath(self, comparison: Comparison, key: str) -> Iterable[Section]:
        """Figures beneath the table of a comparison; anchors begin with ``key``."""
        return ()

    def chapters(self, results: Results) -> Iterable[Chapter]:
        """The document's entries under the added keys."""
        return ()


def additions() -> list[Addition]:
    """The additions of all packages, in order of the entry points' names.

    Raises:
        PluginError: one cannot be imported.
    """
    return [plugins.load(entry)() for entry in plugins.registered(plugins.REPORT).values()]


def chapters(results: Results) -> list[Chapter]:
    """The chapters of a document under packages' keys."""
    return [chapter for one in additions() for chapter in one.chapters(results)]


def results_type() -> type[Results]:
    """The schema of a document with packages' keys."""
    return _extended(tuple((key, part) for one in additions() for key, part in one.keys.items()))


@cache
def _extended(keys: tuple[tuple[str, type[Part]], ...]) -> type[Results]:
    fields: dict[str, Any] = {key: (tuple[part, ...], ()) for key, part in keys}  # type: ignore[valid-type]
    return create_model("Results", __base__=Results, **fields)
