"""The configuration of `taskfold compare`."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, InstanceOf, PositiveInt, model_validator

from ..files import as_file
from ..methods import Method
from ._document import checked, document_of
from ._errors import ConfigError, Place, custom
from ._kinds import defaulted
from ._merge import as_method, merged
from ._method import try_method
from ._parts import Part
from ._problem import problem_kind
from ._together import together_problems
from .run import Config

__all__ = ["Candidate", "Compare", "CompareConfig", "load_compare"]

Choices = dict[str, tuple[Any, ...]]
MOST_TRIED = 1000
"""The most combinations of searched settings that are checked one by one."""


class Candidate(Part):
    """A method of a comparison.

    Attributes:
        label: its label during the search.
        method: the method with its settings; searched ones have their first value.
        search: setting → the values to choose from, by validation.
        said: the settings in the configuration.
        called: the label in the configuration; None: there is none.
    """

    label: str
    method: InstanceOf[Method]
    search: Choices = Field({})
    said: tuple[str, ...] = ()
    called: str | None = None

    def at(self, chosen: Mapping[str, Any]) -> Method:
        """The method with chosen values of searched settings."""
        return self.method.with_settings(**chosen)

    def title(self, method: Method) -> str:
        """Its title in tables and figures, with the chosen values."""
        keys = (*(() if self.called else self.said), *self.search)
        words = [f"{'R' if key == 'rank' else key}={getattr(method, key)}" for key in keys]
        return " ".join([self.called or type(method).__name__, *words])


def _candidate(value: Any) -> Any:
    """A candidate from a name, or from a mapping with a name, its settings, and perhaps `search` and `label`."""
    if isinstance(value, Candidate):
        return value
    said = as_method(value) if isinstance(value, str) else value
    if not isinstance(said, dict) or not isinstance(said.get("name"), str):
        raise ValueError(f"must be a method's name, or a mapping with a name and its settings, found {value!r}")
    settings = {key: item for key, item in said.items() if key not in ("name", "search", "label")}
    search = said.get("search") or {}
    if not isinstance(search, dict):
        raise custom([(("search",), f"must be a mapping of settings to values, found {search!r}")], "method", value)
    wrong: list[tuple[Place, str]] = []
    for key, values in search.items():
        if not isinstance(values, list) or len(values) < 2 or any(values.count(one) > 1 for one in values):
            wrong.append((("search", key), f"must be a list of at least two different values, found {values!r}"))
        elif key in settings:
            wrong.append((("search", key), f"is searched, and {key} stands beside it; leave one of them out"))
    if "label" in said and not _readable(said["label"]):
        text = "must be 1 to 100 printable characters without outer spaces, or left out"
        wrong.append((("label",), f"{text}, found {said['label']!r}"))
    if wrong:
        raise custom(wrong, "method", value)
    for values in itertools.islice(itertools.product(*search.values()), MOST_TRIED):
        chosen = dict(zip(search, values, strict=True))
        made = try_method(said["name"], {**settings, **chosen})
        if isinstance(made, list):
            places = [(("search", *place) if place[:1] and place[0] in search else place, text) for place, text in made]
            raise custom(places, "method", value)
    first = try_method(said["name"], {**settings, **{key: values[0] for key, values in search.items()}})
    words = [f"{key}={item}" for key, item in settings.items()]
    called = said.get("label")
    label = called or " ".join([said["name"], *words])
    return {"label": label, "method": first, "search": search, "said": tuple(settings), "called": called}


def _readable(label: object) -> bool:
    return isinstance(label, str) and 0 < len(label) <= 100 and label.isprintable() and label == label.strip()


def _rising(value: tuple[float, float] | None) -> tuple[float, float] | None:
    if value is not None and not 0 < value[0] < value[1] < float("inf"):
        raise ValueError(f"must be two numbers, 0 < lowest < highest, found {list(value)}")
    return value


class Compare(Part):
    """The compared methods, and the number of trainings.

    Attributes:
        methods: names, or mappings with settings and `search`.
        trials: trainings of all tasks, for each method, to search its learning rate and the settings in `search`.
        seeds: trainings of all tasks, with the found settings, for the reported numbers.
        lr: the lowest and the highest multiple of the method's own learning rates; None: they are not searched.
    """

    methods: tuple[Annotated[Candidate, BeforeValidator(_candidate)], ...] = Field(min_length=1)
    trials: PositiveInt = 8
    seeds: PositiveInt = 3
    lr: Annotated[tuple[float, float] | None, AfterValidator(_rising)] = (0.1, 10.0)

    @model_validator(mode="after")
    def _told_apart(self) -> Compare:
        labels, files = [one.label for one in self.methods], [as_file(one.label) for one in self.methods]
        for n, file in enumerate(files):
            if (first := files.index(file)) < n:
                how = "" if labels[first] == labels[n] else f" and {labels[n]!r}, whose folders are one on some systems"
                raise ValueError(f"two methods are called {labels[first]!r}{how}; give one of them a label")
        return self


class CompareConfig(Config):
    """A configuration with tasks, and the methods to compare on them; tasks have no method of their own."""

    compare: Compare

    @property
    def seed(self) -> int:
        """The seed of the search; the runs have the next ones."""
        return self.together.seed if self.together else self.tasks[0].train.seed


def load_compare(path: str | Path) -> CompareConfig:
    """Read a configuration; relative paths in it start from its folder.

    Raises:
        FileNotFoundError: there is no such file.
        ConfigError: settings are wrong; the message lists all: key, value found, allowed values.
    """
    path = Path(path)
    document = document_of(path, "backbone, compare, tasks and output")
    if "compare" not in document:
        raise ConfigError(
            f"{path}: compare: is missing: a mapping with methods to compare, such as "
            "{methods: [head-only, ftn, {name: lora, search: {rank: [1, 4, 16]}}]}"
        )
    found = [*_methods_elsewhere(document), *_not_searched(document)]
    whole = defaulted(merged({key: value for key, value in document.items() if key not in ("compare", "method")}))
    whole["compare"] = document["compare"]
    found += _measured_alike(whole)
    return checked(path, document, whole, CompareConfig, [*found, *_sharing(document, whole)])


def _measured_alike(whole: Mapping[str, Any]) -> list[tuple[Place, str]]:
    """Problems of tasks whose scores have no mean: some have accuracy, some only the loss."""
    judged = set[str]()
    for place, part in _parts(whole):
        train = part.get("train")
        said = train.get("select_by", "auto") if isinstance(train, dict) else "auto"
        usual = "accuracy" if "accuracy" in problem_kind(part.get("problem")).select_by else "loss"
        judged |= {usual if said in ("auto", "last") else str(said)} if place else set()
    if len(judged) < 2:
        return []
    return [(("train", "select_by"), "methods are compared by one score for all tasks; set it to loss")]


def _methods_elsewhere(document: Mapping[str, Any]) -> list[tuple[Place, str]]:
    text = "methods of a comparison stand in compare.methods; leave this one out"
    return [((*place, "method"), text) for place, part in _parts(document) if "method" in part]


def _not_searched(document: Mapping[str, Any]) -> list[tuple[Place, str]]:
    """Problems of rates that another setting would choose, and of seeds that differ between tasks."""
    found: list[tuple[Place, str]] = []
    for place, part in _parts(document):
        for section in ("train", "together"):
            said = part.get(section)
            if isinstance(said, dict) and said.get("lr") == "auto":
                found.append(((*place, section, "lr"), "a comparison searches the rates; leave it out"))
            if place and isinstance(said, dict) and "seed" in said:
                found.append(((*place, section, "seed"), "all tasks have one in a comparison; say it in train"))
    if isinstance(document.get("together"), dict) and document["together"].get("groups") is not None:
        found.append((("together", "groups"), "a comparison trains all tasks together; leave it out"))
    return found


def _sharing(document: Mapping[str, Any], whole: Mapping[str, Any]) -> list[tuple[Place, str]]:
    """The method's demands on `together`, and problems with that section."""
    found, compare = dict.fromkeys(together_problems(document, whole)), document["compare"]
    listed = compare.get("methods") if isinstance(compare, dict) else None
    for n, said in enumerate(listed if isinstance(listed, list) else []):
        settings = as_method(said) if isinstance(said, str) else said
        if not isinstance(settings, dict):
            continue
        plain = {key: item for key, item in settings.items() if key not in ("search", "label")}
        tasks = [{**task, "method": plain} for task in whole.get("tasks") or () if isinstance(task, dict)]
        for _, text in together_problems(document, {**whole, "tasks": tasks[:1]}):
            if "shares an inventory" in text:
                found[(("compare", "methods", n), f"{text.replace(' (tasks[0])', '')}")] = None
    return [*found]


def _parts(document: Mapping[str, Any]) -> list[tuple[Place, Mapping[str, Any]]]:
    tasks = document.get("tasks")
    listed = enumerate(tasks if isinstance(tasks, list) else [])
    return [((), document), *((("tasks", n), task) for n, task in listed if isinstance(task, dict))]
