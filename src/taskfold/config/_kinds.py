"""The kinds of data that tasks have, and which settings are theirs alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, Union, get_args

from pydantic import BaseModel, Field, TypeAdapter

from ..data import Source
from ..text.configured import TextSource
from ._errors import Place


@dataclass(frozen=True)
class Kind:
    """One kind of data.

    Attributes:
        name: what such tasks consist of: `images`.
        source: the base of its sources.
        sections: keys of a configuration that mean nothing to other kinds.
    """

    name: str
    source: type[BaseModel]
    sections: tuple[str, ...]

    @property
    def tags(self) -> tuple[str, ...]:
        """What its sources are called, as `kind`."""
        return tuple(
            tag for kind in self.source.__subclasses__() for tag in get_args(kind.model_fields["kind"].annotation)
        )


KINDS = (
    Kind("images", Source, ("preprocessing", "image_size", "corrupt")),
    Kind("texts", TextSource, ("text",)),
)

if TYPE_CHECKING:
    AnySource: TypeAlias = Source | TextSource
else:
    _sources = tuple(source for kind in KINDS for source in kind.source.__subclasses__())
    AnySource = Annotated[Union[_sources], Field(discriminator="kind")]  # noqa: UP007


def kind_of(source: BaseModel) -> Kind:
    """The kind of data that a source gives."""
    return next(kind for kind in KINDS if isinstance(source, kind.source))


def parse_source(settings: Mapping[str, Any]) -> Source | TextSource:
    """A source of any kind from its settings.

    Raises:
        pydantic.ValidationError: names the key, the value found and what is allowed.

    Example:
        >>> kind_of(parse_source({"kind": "lemmas", "language": "nl"})).name
        'texts'
    """
    return TypeAdapter(AnySource).validate_python(dict(settings))


def mixed(document: Mapping[str, Any]) -> list[tuple[Place, str]]:
    """Tasks of several kinds in one configuration, and settings of a kind that no task is of."""
    kinds: dict[str, Kind] = {}
    tasks = document.get("tasks")
    for index, task in enumerate(tasks if isinstance(tasks, list) else []):
        if (kind := _kind(task)) is not None:
            kinds[f"tasks[{index}] ({task.get('name')})"] = kind
    distinct = list(dict.fromkeys(kinds.values()))
    if not distinct:
        return []
    if len(distinct) > 1:
        each = [f"{next(at for at, kind in kinds.items() if kind == one)} has {one.name}" for one in distinct]
        return [
            (("tasks",), f"must all be of one kind of data, but {', '.join(each)}; write one configuration for each")
        ]
    return [
        ((*place, section), f"is for tasks of {kind.name}, and these have {distinct[0].name}; leave it out")
        for kind in KINDS
        if kind not in distinct
        for section in kind.sections
        for place in _places(document, section)
    ]


def _kind(task: Any) -> Kind | None:
    source = task.get("source") if isinstance(task, dict) else None
    tag = source.get("kind") if isinstance(source, dict) else None
    return next((kind for kind in KINDS if tag in kind.tags), None)


def _places(document: Mapping[str, Any], section: str) -> list[Place]:
    inside = [("tasks", n) for n, task in enumerate(document["tasks"]) if isinstance(task, dict) and section in task]
    return [*([()] if section in document else []), *inside]
