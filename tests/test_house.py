"""The rules of the house: rooms import only public names of each other, and the installed package stays small."""

from __future__ import annotations

import ast
import io
import pkgutil
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec, resolve_name
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIBRARY, DEMOS = ROOT / "src" / "taskfold", ROOT / "demos" / "src" / "taskfold_demos"
LINES = 58_000
WHEEL = 1_500_000


def modules(package: Path) -> Iterator[tuple[str, ast.Module]]:
    """Dotted names, packages with a final `.__init__`, and what the files say."""
    for path in sorted(package.rglob("*.py")):
        name = ".".join(path.relative_to(package.parent).with_suffix("").parts)
        yield name, ast.parse(path.read_text(encoding="utf-8"))


def imported(name: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and dotted name of whatever a module imports: modules, and names in them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, one.name) for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            relative = "." * node.level + (node.module or "")
            base = resolve_name(relative, name.rpartition(".")[0])
            yield from ((node.lineno, f"{base}.{one.name}") for one in node.names)


def room(name: str) -> str:
    """The folder directly in the package that holds a module; the package itself for files that lie beside them."""
    first, *rest = name.split(".")
    return ".".join([first, *rest[:1]]) if len(rest) > 1 and not rest[0].startswith("_") else first


def private(name: str) -> bool:
    """Whether a name, or a module on the way to it, is private."""
    return any(part.startswith("_") and not part.startswith("__") for part in name.split("."))


def strangers(package: Path) -> list[str]:
    """Imports of private names of other rooms, `file line: name`."""
    return [
        f"{name} line {line}: {there}"
        for name, tree in modules(package)
        for line, there in imported(name, tree)
        if there.startswith("taskfold") and private(there) and room(there) != room(name)
    ]


def test_rooms_import_public_names_of_each_other() -> None:
    assert not strangers(LIBRARY)


def test_demonstrations_import_public_names_of_the_library() -> None:
    assert not strangers(DEMOS)


@pytest.mark.parametrize("folder", ["experiments", "benchmarks"])
def test_scripts_import_public_names_that_are_there(folder: str) -> None:
    found = {
        there: f"{path.name} line {line}"
        for path in sorted((ROOT / folder).glob("*.py"))
        for line, there in imported(f"{folder}.{path.stem}", ast.parse(path.read_text(encoding="utf-8")))
        if there.startswith("taskfold")
    }
    assert not [f"{place}: {there}" for there, place in found.items() if private(there)]
    installed = {name for name in ("taskfold", "taskfold_demos") if find_spec(name)}
    for there in found:
        if there.partition(".")[0] in installed:
            pkgutil.resolve_name(there)


def test_the_walk_finds_what_it_looks_for(tmp_path: Path) -> None:
    for place in ("taskfold/cli", "taskfold/data/sources"):
        (tmp_path / place).mkdir(parents=True)
    (tmp_path / "taskfold/cli/run.py").write_text(
        "import taskfold.data._split\nfrom ..data import _sets, parse\nfrom ..data.sources._base import folder\n"
        "from . import _words\nfrom .._view import View\nfrom ..data import __name__\n"
    )
    (tmp_path / "taskfold/data/sources/one.py").write_text("from .._errors import require\nfrom ._base import Parts\n")
    assert [one.partition(" line ")[2] for one in strangers(tmp_path / "taskfold")] == [
        "1: taskfold.data._split",
        "2: taskfold.data._sets",
        "3: taskfold.data.sources._base.folder",
        "5: taskfold._view.View",
    ]


def test_the_library_is_short() -> None:
    """Lines that say something: empty ones are not counted."""
    texts = [path.read_text(encoding="utf-8") for path in LIBRARY.rglob("*.py")]
    assert sum(bool(line.strip()) for text in texts for line in text.splitlines()) <= LINES


def test_the_wheel_is_small() -> None:
    """A wheel is a compressed archive of the package; what it says of itself besides is a few kilobytes."""
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"] == {
        "packages": ["src/taskfold"]
    }
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as wheel:
        for path in LIBRARY.rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                wheel.write(path, path.relative_to(LIBRARY.parent))
    assert archive.tell() <= WHEEL
