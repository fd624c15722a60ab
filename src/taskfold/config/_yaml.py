"""YAML as people expect it: `no` and `1e-3` are text and a number, and keys are unique."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from math import isinf
from typing import Any

import yaml

from ._errors import ConfigError

MOST_TEXT, MOST_LEVELS = 4_000_000, 50
"""The most characters of a document, and the most nested lists and mappings."""
MOST_VALUES = 10
"""The largest ratio of values with every alias written out to values in the document, apart from some thousands."""


class _Loader(yaml.SafeLoader):
    """A loader with YAML 1.2's scalars: in 1.1 `no` is false, `1e-3` is text, `1:30` is 90, `2024-01-01` a date."""

    yaml_implicit_resolvers: dict[str | None, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def fetch_flow_collection_start(self, TokenClass: type[yaml.Token]) -> None:
        """Refuses deep nesting early: the scanner's time is quadratic in open brackets."""
        if self.flow_level > MOST_LEVELS:
            text = f"has more than {MOST_LEVELS} lists and mappings inside one another"
            raise yaml.scanner.ScannerError(None, None, text, self.get_mark())  # type: ignore[no-untyped-call]
        super().fetch_flow_collection_start(TokenClass)  # type: ignore[no-untyped-call]

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        """Refuses NUL in text, at which names and paths would end."""
        text = super().construct_scalar(node)
        if isinstance(text, str) and "\0" in text:
            raise _refused("text has a NUL character; leave it out", node)
        return text

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: dict[Any, int] = {}
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)  # type: ignore[no-untyped-call]
            if not isinstance(key, Hashable):
                raise yaml.constructor.ConstructorError(None, None, "a key must be plain text", key_node.start_mark)
            line = key_node.start_mark.line + 1
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} stands in line {seen[key]} already; keep one", key_node.start_mark
                )
            seen[key] = line
        return super().construct_mapping(node, deep)


def _number(loader: _Loader, node: yaml.ScalarNode) -> int | float:
    """A number that Python, torch and JSON can hold."""
    value, whole = loader.construct_yaml_float(node), node.tag.endswith(":int")  # type: ignore[no-untyped-call]
    number = int(node.value) if whole and not isinf(value) else value
    if abs(number) >= 2**63 if whole else isinf(value) and "inf" not in node.value.lower():
        shown = node.value if len(node.value) < 40 else f"{node.value[:39]}…"
        raise yaml.constructor.ConstructorError(None, None, f"{shown} is too large a number", node.start_mark)
    return number


for _tag in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _number)

_DIGITS = list("-+0123456789")
for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(0|[1-9][0-9]*)", _DIGITS),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+", [*_DIGITS, "."]),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", list("-+.")),
    ("merge", r"<<", ["<"]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first)


def parse(text: str, origin: str) -> Any:
    """The value of one YAML document.

    Args:
        text: the document.
        origin: its name in messages.

    Raises:
        ConfigError: the text is not valid; the message has line and column.

    Example:
        >>> parse("{precision: no, lr: 1e-3, rank: {'layer4.*': 8}}", "example")
        {'precision': 'no', 'lr': 0.001, 'rank': {'layer4.*': 8}}
    """
    if len(text) > MOST_TEXT:
        raise ConfigError(f"{origin}: may have {MOST_TEXT:,} characters, found {len(text):,}; split it into several")
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()  # type: ignore[no-untyped-call]
        if node is None:
            return None
        known: dict[int, tuple[int, int] | None] = {}
        size, _ = _measure(node, known)
        if size > 10_000 + MOST_VALUES * len(known):
            raise _refused(
                f"{len(known):,} values, with aliases that write out more than {MOST_VALUES} times as many", node
            )
        return loader.construct_document(node)  # type: ignore[no-untyped-call]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"{origin}{where}: {error.problem or error.context}") from None
    except RecursionError:
        raise ConfigError(f"{origin}: has more than {MOST_LEVELS} lists and mappings inside one another") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{origin}: not YAML: {' '.join(str(error).split())}") from None
    finally:
        if loader is not None:
            loader.dispose()  # type: ignore[no-untyped-call]


def _measure(node: yaml.Node, known: dict[int, tuple[int, int] | None]) -> tuple[int, int]:
    """The numbers of values and levels of a node, with every alias written out.

    Raises:
        yaml.constructor.ConstructorError: there are too many levels, or the node contains itself.
    """
    if id(node) in known:
        found = known[id(node)]
        if found is None:
            raise _refused("an alias stands inside of what it is an alias of", node)
        return found
    known[id(node)] = None
    inside: list[yaml.Node] = []
    if isinstance(node, yaml.CollectionNode):
        inside = [one for pair in node.value for one in (pair if isinstance(pair, tuple) else (pair,))]
    each = [_measure(one, known) for one in inside]
    size, levels = 1 + sum(size for size, _ in each), 1 + max((levels for _, levels in each), default=0)
    if levels > MOST_LEVELS:
        raise _refused(f"has more than {MOST_LEVELS} lists and mappings inside one another", node)
    known[id(node)] = size, levels
    return size, levels


def _refused(text: str, node: yaml.Node) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, text, node.start_mark)


def parse_settings(pairs: Sequence[str]) -> dict[str, Any]:
    """The settings in `KEY=VALUE` arguments, with values in YAML.

    Raises:
        ConfigError: there is no `=`, a key repeats, or a value is not YAML.

    Example:
        >>> parse_settings(["rank=4", "norm=false", "targets=['*', '!head']"])
        {'rank': 4, 'norm': False, 'targets': ['*', '!head']}
    """
    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        key = key.strip()
        if not equals or not key.isidentifier():
            raise ConfigError(f"--set {pair}: must be KEY=VALUE, such as rank=4")
        if key in found:
            raise ConfigError(f"--set {pair}: {key} is given twice; keep one")
        found[key] = parse(value, f"--set {pair}")
    return found
