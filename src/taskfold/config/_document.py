"""From a file to a configuration, or to everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from ._errors import ConfigError, Place, adapted, listing, problems, sentence
from ._glob import listed
from ._kinds import mixed
from ._merge import attributed
from ._names import repeated
from ._parts import Plan
from ._paths import blocked, rooted
from ._problem import BASE
from ._yaml import parse

P = TypeVar("P", bound=Plan)


def document_of(path: Path, wanted: str) -> dict[str, Any]:
    """The mapping in a file, with tasks that it names by a pattern listed."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no configuration file {str(path)!r}")
    try:
        document = parse(path.read_text(encoding="utf-8-sig"), str(path))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text: {error.reason} at byte {error.start}") from None
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: must be a mapping with {wanted}, found {type(document).__name__}")
    return listed(document, path)


def checked(
    path: Path, document: Mapping[str, Any], whole: Mapping[str, Any], kind: type[P], more: list[tuple[Place, str]]
) -> P:
    """The configuration, its paths counted from the file's folder.

    Args:
        path: the file.
        document: what stands in it.
        whole: the same with what holds for all tasks written out.
        kind: what it should be.
        more: problems that were found already.
    """
    found, config = [*repeated(document), *mixed(document), *more], None
    try:
        config = kind.model_validate(whole, context={BASE: path.parent})
    except ValidationError as error:
        found += attributed(problems(error, whole, kind), document)
    if config is not None:
        found += attributed([*adapted(whole, config)], document)
        config._path, config._document = path, document
        config = rooted(config, path.parent)
        found += blocked(config)
    if config is None or found:
        raise listing(str(path), list(dict.fromkeys(sentence(place, text) for place, text in found)))
    return config
