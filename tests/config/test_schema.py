"""The schemas have every key with its meaning, and agree with the reader of configurations."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from taskfold.config.run import Config, load_config
from taskfold.config.schema import Command, rows, schema
from taskfold.methods import names

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("command", get_args(Command))
def test_every_key_has_a_type_and_a_meaning(command: Command) -> None:
    listed = rows(schema(command))
    assert len({row[0] for row in listed}) == len(listed) > 30
    assert [row[0] for row in listed if not row[1] or not row[4]] == []


def test_every_source_and_backbone_says_what_its_keys_mean() -> None:
    properties = schema("train")["properties"]
    for section in ("source", "backbone", "problem"):
        for form in properties[section]["anyOf"]:
            tags = ("kind", "network")
            assert [row[0] for row in rows(form) if not row[4] and row[0] not in tags] == [], (
                section,
                form.get("title"),
            )


def test_every_method_is_there_with_its_settings() -> None:
    name, *each = schema("train")["properties"]["method"]["anyOf"]
    assert name["enum"] == names()
    assert [form["title"] for form in each] == names()
    ftn = next(form for form in each if form["title"] == "ftn")
    assert ftn["properties"]["rank"]["default"] == 8
    assert ftn["additionalProperties"] is False


def test_readers_take_every_default_and_no_other_key(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    document: dict[str, Any] = {
        "backbone": "timm:resnet18",
        "output": "runs",
        "tasks": [{"name": "a", "source": {"kind": "folder", "root": "a"}}],
    }
    properties = schema("train")["properties"]
    for section in ("train", "preprocessing"):
        known = properties[section]["properties"]
        document[section] = {key: one["default"] for key, one in known.items() if one.get("default") is not None}
        assert properties[section]["additionalProperties"] is False
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    load_config(path)
    assert set(properties) == {field.alias or name for name, field in Config.model_fields.items()}


def test_the_page_has_a_table_for_each_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(DOCS), *sys.path])
    keys = pytest.importorskip("configuration_keys")
    text = (DOCS / "configuration.md").read_text(encoding="utf-8")
    marks = keys.MARK.findall(text)
    assert marks == ["train", "source", "problem", "backbone", "method", "transfer", "compare"]
    for mark in marks:
        assert keys.tables(mark).count("\n| `") > 3
    with pytest.raises(ValueError, match="must name a command or a section"):
        keys.tables("nothing")
