"""The kinds of data that tasks have, and which settings are theirs alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from ..backbones import SCHEMES
from ..data import Source
from ..plugins import kinds_of
from ..text.configured import TextSource
from ._errors import Place


@dataclass(frozen=True)
class Kind:
    """One kind of data.

    Attributes:
        name: in files: `images`.
        words: in messages.
        base: of its sources; called when a source of no kind before is looked for, as it may take seconds to import.
        sections: keys of a configuration that mean nothing to other kinds.
        select_by: what its training can select the best epoch by, the first unless something is said.
        networks: its backbones are those that a configuration names as `network`.
    """

    name: str
    words: str
    base: Callable[[], type[BaseModel]]
    sections: tuple[str, ...]
    select_by: tuple[str, ...] = ("accuracy", "loss")
    networks: bool = False

    @property
    def sources(self) -> dict[str, type[BaseModel]]:
        """Its sources by what they are called, as `kind`.

        Raises:
            ImportError: an extra is not installed.
        """
        return kinds_of(self.base())


def _dense() -> type[BaseModel]:
    from ..dense import DenseSource  # noqa: PLC0415  an extra, and seconds to import

    return DenseSource


KINDS = (
    Kind("images", "images", lambda: Source, ("preprocessing", "image_size", "corrupt")),
    Kind("texts", "texts", lambda: TextSource, ("text",)),
    Kind("dense", "dense targets", _dense, ("dense", "target"), select_by=("loss",), networks=True),
)


def words_of(name: str) -> str:
    """A kind in messages, by its name."""
    return next((kind.words for kind in KINDS if kind.name == name), name)


def kind_of(source: BaseModel) -> Kind:
    """The kind of data that a source gives."""
    return next(kind for kind in KINDS if isinstance(source, kind.base()))


def kind_of_tag(tag: object) -> Kind | None:
    """The kind of data of sources called so; None: there are none."""
    for kind in KINDS if isinstance(tag, str) else ():
        try:
            if tag in kind.sources:
                return kind
        except ImportError:
            continue
    return None


def defaulted(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document, written out, with what the kinds of its tasks select epochs by where it does not say."""
    listed = document.get("tasks")
    if not isinstance(listed, list):
        return dict(document)
    found = {**document, "tasks": [_selecting(task, "train", _kind(task)) for task in listed]}
    return _selecting(found, "together", next((_kind(task) for task in listed), None))


def mixed(document: Mapping[str, Any]) -> list[tuple[Place, str]]:
    """Tasks of several kinds in one configuration, and settings that do not go with the kind."""
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
        for place in _places(document, section)
    ]
    return [*found, *_selections(document, mine), *_backbone(document, mine)]


def _selections(document: Mapping[str, Any], kind: Kind) -> list[tuple[Place, str]]:
    """Training that selects by what its tasks do not have."""
    sections: dict[Place, Any] = {("train",): document.get("train"), ("together",): document.get("together")}
    sections |= {("tasks", n, "train"): task.get("train") for n, task in _tasks(document)}
    found: list[tuple[Place, str]] = []
    for place, section in sections.items():
        said = section.get("select_by") if isinstance(section, dict) else None
        if isinstance(said, str) and said not in kind.select_by:
            ways = " or ".join(kind.select_by)
            text = f"must be {ways} for tasks of {kind.words}, found {said!r}; leave it out"
            found.append(((*place, "select_by"), text))
    return found


def _backbone(document: Mapping[str, Any], kind: Kind) -> list[tuple[Place, str]]:
    """A backbone that cannot be for such tasks; of one's own code nothing is known before it is run."""
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


def _selecting(holder: Any, section: str, kind: Kind | None) -> Any:
    if kind is None or len(kind.select_by) > 1 or not isinstance(holder.get(section), dict):
        return holder
    return {**holder, section: {"select_by": next(iter(kind.select_by)), **holder[section]}}


def _kind(task: Any, shared: Any = None) -> Kind | None:
    """Of a task, whose source may say less than that of all."""
    source = task.get("source") if isinstance(task, dict) else None
    both = {**(shared if isinstance(shared, dict) else {}), **(source if isinstance(source, dict) else {})}
    return kind_of_tag(both.get("kind"))


def _tasks(document: Mapping[str, Any]) -> list[tuple[int, dict[str, Any]]]:
    """Those that are mappings, with their numbers."""
    tasks = document.get("tasks")
    return [(n, task) for n, task in enumerate(tasks if isinstance(tasks, list) else []) if isinstance(task, dict)]


def _places(document: Mapping[str, Any], section: str) -> list[Place]:
    inside: list[Place] = [("tasks", n) for n, task in _tasks(document) if section in task]
    return [*([()] if section in document else []), *inside]
