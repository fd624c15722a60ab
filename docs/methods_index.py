"""Sphinx extension: the methods page's table and its list of pages, from the registry and the pages themselves."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from taskfold import methods

FOLDER = Path(__file__).parent / "methods"
MARK = "<!-- every method and its page -->"
FRONT = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)
TITLE = re.compile(r"^# (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Page:
    """A page of one method, that of its name, or of those that its front matter lists as `methods`."""

    stem: str
    title: str
    methods: tuple[str, ...]

    @classmethod
    def read(cls, path: Path) -> Page:
        text = path.read_text(encoding="utf-8")
        front = FRONT.match(text)
        title = TITLE.search(text)
        if title is None:
            raise ValueError(f"{path.name} must have a title, a line that begins with '# '; found none")
        listed = (yaml.safe_load(front[1]) or {}).get("methods") if front else None
        return cls(path.stem, title[1].strip(), tuple(listed or [path.stem]))


def pages(folder: Path = FOLDER) -> list[Page]:
    """The pages of methods, by title."""
    found = [Page.read(path) for path in folder.glob("*.md") if path.stem != "index"]
    return sorted(found, key=lambda page: page.title.casefold())


def check(found: list[Page], known: list[str]) -> None:
    """Every method has one page, and every page is of methods that exist.

    Raises:
        ValueError: which method or page is without the other.
    """
    said = [(name, page.stem) for page in found for name in page.methods]
    for name in known:
        stems = [stem for other, stem in said if other == name]
        if len(stems) != 1:
            raise ValueError(
                f"method {name!r} must have one page, found {len(stems)} ({', '.join(stems) or 'none'}): "
                f"write docs/methods/{name}.md, or name it in the `methods:` of one page's front matter"
            )
    for name, stem in said:
        if name not in known:
            raise ValueError(f"docs/methods/{stem}.md is about {name!r}, which is no method; choose of {known}")


def table(found: list[Page]) -> str:
    """One row per method, and the pages for the side bar."""
    rows = ["| page | in Python | by name | what it is |", "|---|---|---|---|"]
    for page in found:
        for name in page.methods:
            kind = type(methods.build(name))
            first = (inspect.getdoc(kind) or "").partition("\n")[0].replace("|", r"\|").replace("*", r"\*")
            rows.append(f"| [{page.title}]({page.stem}.md) | `{kind.__name__}` | `{name}` | {first} |")
    listed = "\n".join(page.stem for page in found)
    return "\n".join(rows) + f"\n\n```{{toctree}}\n:hidden:\n\n{listed}\n```"


def package_methods() -> list[str]:
    """Names of the methods that the package exports."""
    exported = [getattr(methods, name) for name in methods.__all__]
    kinds = [kind for kind in exported if isinstance(kind, type) and issubclass(kind, methods.Method)]
    return sorted(kind.name for kind in kinds if hasattr(kind, "name"))  # bases of methods have none


def fill(app: Any, document: str, source: list[str]) -> None:
    """Put the table where the page's source has the mark."""
    if document != "methods/index":
        return
    if source[0].count(MARK) != 1:
        raise ValueError(f"docs/methods/index.md must have one line {MARK!r}, found {source[0].count(MARK)}")
    found = pages()
    check(found, package_methods())
    for page in found:
        app.env.note_dependency(str(FOLDER / f"{page.stem}.md"))
    source[0] = source[0].replace(MARK, table(found))


def setup(app: Any) -> dict[str, Any]:
    """What Sphinx calls."""
    app.connect("source-read", fill)
    app.connect("env-get-outdated", lambda *_: ["methods/index"])  # a method may be new where no page has changed
    return {"parallel_read_safe": True, "parallel_write_safe": True}
