"""The kinds of data that tasks have, and the settings of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from ..backbones import SCHEMES
from ..data import Source
from ..plugins import kinds_of
from ..text.configured import TextSource
from ..text.documents import DocumentSource
from ..text.words import WordSource
from ._errors import Place
from ._problem import problem_kind


@dataclass(frozen=True)
class Kind:
    """One kind of data.

    Attributes:
        name: its name in files: `images`.
        words: its name in messages.
        base: returns the base class of its sources; called late, as it may take seconds to import.
        sections: keys of a configuration that only this kind has.
        select_by: the measures that can select the best epoch, the default first; for kinds whose
            tasks have a `problem`, the problem's measures instead.
        networks: its backbones are the networks for dense prediction.
        job: the `Ready` class of such tasks, `module:class` in `taskfold.cli`, imported when needed.
    """

    name: str
    words: str
    base: Callable[[], type[BaseModel]]
    sections: tuple[str, ...]
    select_by: tuple[str, ...] = ("auto", "accuracy", "loss", "last")
    networks: bool = False
    job: str = ""

    @property
    def sources(self) -> dict[str, type[BaseModel]]:
        """Its sources by their `kind`.

        Raises:
            ImportError: an extra is not installed.
        """
        return kinds_of(self.base())


def _dense() -> type[BaseModel]:
    from ..dense import DenseSource  # noqa: PLC0415  an extra, and seconds to import

    return DenseSource


KINDS = (
    Kind(
        "images",
        "images",
        lambda: Source,
        ("preprocessing", "image_size", "corrupt", "problem"),
        job="_images:ImageTask",
    ),
    Kind("texts", "texts", lambda: TextSource, ("text",), job="_texts:TextTask"),
    Kind(
        "dense",
        "dense targets",
        _dense,
        ("dense", "target"),
        select_by=("loss",),
        networks=True,
        job="_dense:DenseTask",
    ),
    Kind("documents", "whole texts", lambda: DocumentSource, ("problem",), job="_documents:DocumentTask"),
    Kind("words", "words of texts", lambda: WordSource, ("problem",), job="_tagged:TaggedTask"),
)
"""All kinds. A new kind is one file with its `Ready` in `taskfold.cli`, a base of its sources, and a line here."""


def kind_named(name: str) -> Kind | None:
    """The kind of that name; None: unknown."""
    return next((kind for kind in KINDS if kind.name == name), None)


def words_of(name: str) -> str:
    return next((kind.words for kind in KINDS if kind.name == name), name)


def kind_of(source: BaseModel) -> Kind:
    """The kind of data that a source has."""
    return next(kind for kind in KINDS if isinstance(source, kind.base()))


def kind_of_tag(tag: object) -> Kind | None:
    """The kind of data of the sources with that `kind`; None: unknown."""
    for kind in KINDS if isinstance(tag, str) else ():
        try:
            if tag in kind.sources:
                return kind
        except ImportError:
            continue
    return None


def defaulted(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document, written out, with the default measure that selects epochs in each task."""
    listed = document.get("tasks")
    if not isinstance(listed, list):
        return dict(document)
    ways = [_ways(task) for task in listed]
    tasks = [_selecting(task, "train", mine) for task, mine in zip(listed, ways, strict=True)]
    return _selecting({**document, "tasks": tasks}, "together", _common(ways))


def mixed(document: Mapping[str, Any]) -> list[tuple[Place, str]]:
    """Problems of tasks of several kinds in one configuration, and of settings of other kinds."""
    kinds: dict[str, Kind] = {}
    for index, task in _tasks(document):
        if (kind := _kind(task, document.get("source"))) is not None:
            kinds[f"tasks[{index}] ({task.get('name')})"] = kind
    distinct = list(dict.fromkeys(kinds.values()))
    if not distinct:
        return []
    if len(distinct) > 1:
        each = [f"{next(at for at, kind in kinds.items() if kind == one)} has {one.words}" for one in distinct]
        return [
            (("tasks",), f"must all be of one kind of data, but {', '.join(each)}; write one configuration for each")
        ]
    [mine] = distinct
    found: list[tuple[Place, str]] = [
        ((*place, section), f"is for tasks of {kind.words}, and these have {mine.words}; leave it out")
        for kind in KINDS
        if kind is not mine
        for section in kind.sections
        if section not in mine.sections
        for place in _places(document, section)
    ]
    return [*found, *_selections(document, mine), *_backbone(document, mine)]


def _selections(document: Mapping[str, Any], kind: Kind) -> list[tuple[Place, str]]:
    """Problems of training that selects by a measure which its tasks do not have."""
    tasks = dict(_tasks(document))
    ways = {n: _ways({"problem": document.get("problem"), **task}, kind) for n, task in tasks.items()}
    sections = [(("train",), document.get("train"), common := _common([*ways.values()]))]
    sections += [(("together",), document.get("together"), common)]
    sections += [(("tasks", n, "train"), task.get("train"), ways[n]) for n, task in tasks.items()]
    found: list[tuple[Place, str]] = []
    for place, section, allowed in sections:
        said = section.get("select_by") if isinstance(section, dict) else None
        if isinstance(said, str) and allowed and said not in allowed:
            text = f"must be {' or '.join(allowed)} for these tasks, found {said!r}; leave it out"
            found.append(((*place, "select_by"), text))
    return found


def _ways(task: Any, kind: Kind | None = None) -> tuple[str, ...]:
    """The measures that a task can select by; empty: its kind is unknown."""
    kind = kind or _kind(task)
    if kind is None:
        return ()
    if "problem" not in kind.sections:
        return kind.select_by
    said = task.get("problem")
    own = said.get("metrics") if isinstance(said, dict) else None
    named = [one.rpartition(":")[2] for one in own if isinstance(one, str)] if isinstance(own, (list, tuple)) else []
    return (*problem_kind(said).select_by, *named)


def _common(ways: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """The measures that all tasks can select by."""
    return tuple(way for way in ways[0] if all(way in mine or not mine for mine in ways)) if ways else ()


def _backbone(document: Mapping[str, Any], kind: Kind) -> list[tuple[Place, str]]:
    """Problems of a backbone that such tasks cannot use; the user's own code is not checked before it runs."""
    said = document.get("backbone")
    if isinstance(said, dict) and "network" in said and not kind.networks:
        theirs = next(other.words for other in KINDS if other.networks)
        text = f"is for tasks of {theirs}, and these have {kind.words}; give a model: timm:NAME, hf:NAME, …"
        return [(("backbone", "network"), text)]
    model = said.get("model") if isinstance(said, dict) else said
    if kind.networks and isinstance(model, str) and model.partition(":")[0] in SCHEMES:
        examples = "{network: segnet} or {network: deeplab, encoder: resnet18}"
        return [(("backbone",), f"must be a network for {kind.words}, such as {examples}, found {model!r}")]
    return []


def _selecting(holder: Any, section: str, ways: tuple[str, ...]) -> Any:
    if len(ways) != 1 or not isinstance(holder.get(section), dict):
        return holder
    return {**holder, section: {"select_by": ways[0], **holder[section]}}


def _kind(task: Any, shared: Any = None) -> Kind | None:
    """The kind of a task, whose source may leave keys to the common one."""
    source = task.get("source") if isinstance(task, dict) else None
    both = {**(shared if isinstance(shared, dict) else {}), **(source if isinstance(source, dict) else {})}
    return kind_of_tag(both.get("kind"))


def _tasks(document: Mapping[str, Any]) -> list[tuple[int, dict[str, Any]]]:
    """The tasks that are mappings, with their numbers."""
    tasks = document.get("tasks")
    return [(n, task) for n, task in enumerate(tasks if isinstance(tasks, list) else []) if isinstance(task, dict)]


def _places(document: Mapping[str, Any], section: str) -> list[Place]:
    inside: list[Place] = [("tasks", n) for n, task in _tasks(document) if section in task]
    return [*([()] if section in document else []), *inside]
