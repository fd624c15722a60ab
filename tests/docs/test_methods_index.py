"""The methods page, made from the registry: every method has its page, and every page is of methods."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from taskfold import methods

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def index() -> ModuleType:
    spec = importlib.util.spec_from_file_location("methods_index_of_docs", DOCS / "methods_index.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # data classes look their module up
    spec.loader.exec_module(module)
    return module


def test_every_method_has_a_page_and_every_page_a_method(index: ModuleType) -> None:
    known = index.package_methods()
    package = [name for name in methods.names() if type(methods.build(name)).__module__.startswith("taskfold.")]
    assert known == package
    assert len(known) > 5
    index.check(index.pages(), known)


def test_the_page_has_a_row_for_each_method_and_lists_each_page_once(index: ModuleType) -> None:
    source, noted = [(DOCS / "methods/index.md").read_text(encoding="utf-8")], []
    index.fill(SimpleNamespace(env=SimpleNamespace(note_dependency=noted.append)), "methods/index", source)
    rows = [line.split(" | ") for line in source[0].splitlines() if line.startswith("| [")]
    assert sorted(row[2].strip("`") for row in rows) == index.package_methods()
    assert all(len(row) == 4 and len(row[3]) > 20 for row in rows)
    listed = source[0].split(":hidden:\n\n")[1].split("\n```")[0].splitlines()
    assert sorted(listed) == sorted(path.stem for path in (DOCS / "methods").glob("*.md") if path.stem != "index")
    assert len(noted) == len(listed)
    other = ["as it was"]
    index.fill(None, "start", other)
    assert other == ["as it was"]


@pytest.mark.parametrize(
    ("files", "known", "message"),
    [
        (
            {"ftn": "# FTN"},
            ["ftn", "lora"],
            "method 'lora' must have one page, found 0 .none.: write .*lora.md",
        ),
        (
            {"ftn": "# FTN", "two": "---\nmethods: [ftn]\n---\n# Two"},
            ["ftn"],
            "method 'ftn' must have one page, found 2 .ftn, two.",
        ),
        ({"ftn": "# FTN", "gone": "# Gone"}, ["ftn"], "docs/methods/gone.md is about 'gone', which is no method"),
        ({"ftn": "no title"}, ["ftn"], "ftn.md must have a title"),
    ],
)
def test_what_has_no_counterpart_is_named(
    index: ModuleType, tmp_path: Path, files: dict[str, str], known: list[str], message: str
) -> None:
    for stem, text in files.items():
        (tmp_path / f"{stem}.md").write_text(text + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        index.check(index.pages(tmp_path), known)


def test_a_page_without_the_mark_is_refused(index: ModuleType) -> None:
    with pytest.raises(ValueError, match="must have one line"):
        index.fill(None, "methods/index", ["# Methods\n"])
