"""Packages' plugins: found by name, loaded on use, refused by name."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from pydantic import ValidationError

from taskfold import plugins
from taskfold.backbones import BackboneError, load
from taskfold.config import ConfigError
from taskfold.config.run import load_config
from taskfold.data import parse_source
from taskfold.plugins import BACKBONES, SOURCES, PluginError, kinds_of, registered
from taskfold.text.configured import TextSource, parse_text_source

ADDED = """
from typing import Literal

from torch import nn

from taskfold.backbones import LoadedBackbone, Request
from taskfold.text.configured import TextData, TextSource


class Proverbs(TextSource):
    kind: Literal["proverbs"] = "proverbs"
    language: str

    @property
    def origin(self) -> str:
        return f"proverbs:{self.language}"

    def load(self, name: str, seed: int = 0) -> TextData:
        raise NotImplementedError


def tiny(request: Request) -> LoadedBackbone:
    return LoadedBackbone(nn.Linear(2, 3), num_features=3)
"""


def entry(name: str, group: str, value: str) -> EntryPoint:
    return EntryPoint(name, value, group)


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module on the path with a source and a backbone, registered."""
    name = "package_with_plugins"
    (tmp_path / f"{name}.py").write_text(ADDED)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, name, raising=False)
    entries = [entry("tiny", BACKBONES, f"{name}:tiny"), entry("proverbs", SOURCES, f"{name}:Proverbs")]
    monkeypatch.setattr(plugins, "_installed", lambda group: [one for one in entries if one.group == group])
    return name


def test_what_is_registered_is_not_imported_before_it_is_asked_for(added: str) -> None:
    assert list(registered(BACKBONES)) == ["tiny"]
    with pytest.raises(BackboneError, match=r"there is packaged:efficientnet-lite0, .*packaged:tiny; did you mean"):
        load("packaged:tinny")
    assert added not in sys.modules


def test_a_backbone_of_another_package_is_called_by_its_name(added: str) -> None:
    assert load("packaged:tiny").num_features == 3


def test_a_source_of_another_package_is_called_by_its_kind(added: str, tmp_path: Path) -> None:
    assert parse_text_source({"kind": "proverbs", "language": "nl"}).origin == "proverbs:nl"
    text = "backbone: b\noutput: o\ntasks: [{name: a, source: {kind: proverbs%s}}]"
    (tmp_path / "c.yaml").write_text(text % ", language: nl")
    assert load_config(tmp_path / "c.yaml").tasks[0].source.origin == "proverbs:nl"  # type: ignore[attr-defined]
    (tmp_path / "c.yaml").write_text(text % "")
    with pytest.raises(ConfigError, match=r"tasks\[0\].source.language: is missing"):
        load_config(tmp_path / "c.yaml")
    with pytest.raises(ValidationError, match="proverbs"):
        parse_source({"kind": "proverbs", "language": "nl"})  # it is of texts


def test_two_packages_cannot_have_one_name(monkeypatch: pytest.MonkeyPatch) -> None:
    both = [entry("a", SOURCES, "one:A"), entry("a", SOURCES, "two:A")]
    monkeypatch.setattr(plugins, "_installed", lambda group: both)
    with pytest.raises(PluginError, match="one:A and two:A both register 'a'; uninstall one of them"):
        registered(SOURCES)


@pytest.mark.parametrize("value", ["nowhere_at_all:A", "json:nothing"])
def test_an_entry_that_cannot_be_loaded_is_named(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "_installed", lambda group: [entry("a", group, value)])
    with pytest.raises(PluginError, match=f"taskfold.sources: 'a' of {value} cannot be loaded"):
        kinds_of(TextSource)
    with pytest.raises(PluginError, match=r"taskfold\.backbones: 'a' of"):
        load("packaged:a")
