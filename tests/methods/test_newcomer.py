"""A new method is known everywhere by its file and its export line, each checked in a process of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import taskfold
from taskfold import methods

ROOT, PACKAGE = Path(__file__).parents[2], Path(taskfold.__file__).parent

METHOD = '''
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from taskfold.factors import LowRank
from taskfold.layers import Composition, Linears, Update
from taskfold.methods._base import Method
from taskfold.routing import sharing

__all__ = ["Thin"]


@dataclass(frozen=True)
class Thin(Method):
    """Rank-1 updates of linear layers."""

    targets: str = "*"
    name: ClassVar[str] = "thin"

    @property
    def parts(self) -> tuple[Update]:
        return (Update(LowRank(1), Linears(self.targets), sharing("private")),)

    def compose(self, network: nn.Module) -> Composition:
        return Composition(self.parts)
'''

EVERYWHERE = """
import json
from pathlib import Path

from typer.testing import CliRunner

from taskfold import methods
from taskfold.cli import app
from taskfold.config import build_method
from taskfold.report import write_report
from taskfold.report._marks import page_marks
from taskfold.report.figures import parameters
from taskfold.report.schema import Results
from tests.report.runs import METHODS, document

assert "thin" in methods.names()
assert methods.build("thin", {"targets": "a*"}).targets == "a*"
assert build_method("thin", {}).name == "thin"

Path("net.py").write_text("from torch import nn; build = lambda: nn.Linear(5, 3)")
count = ["count", "--model", "net.py:build", "--method", "thin", "--json"]
result = CliRunner().invoke(app, count)
assert result.exit_code == 0, result.output
assert json.loads(result.stdout)["per_task"]["factors"] == 5 + 3, result.stdout

results = document(methods=(*METHODS, ("thin", "thin", None, 5_000, 0.85)))
assert "thin" in write_report(results, Path("report.html")).read_text(encoding="utf-8")
checked = Results.model_validate(results)
axes = parameters.figure(checked).axes[0]
assert "thin" in [text.get_text() for text in axes.texts]
marks = page_marks(checked)
looks = [(mark.tone, mark.marker) for label, mark in marks.items() if label != "thin"]
assert (marks["thin"].tone, marks["thin"].marker) not in looks
"""

INSIDE = """
import taskfold
import methods_index  # of docs

assert taskfold.Thin is taskfold.methods.Thin
assert {"Thin", *taskfold.methods.__all__} <= set(taskfold.__all__)
assert "thin" in methods_index.package_methods()
methods_index.check(methods_index.pages(), methods_index.package_methods())
row = "| [Thin updates](thin.md) | `Thin` | `thin` | Rank-1 updates of linear layers. |"
assert row in methods_index.table(methods_index.pages())
"""

OUTSIDE = """
import _thin
import pytest
from taskfold import methods
from taskfold.methods._base import register


class Again(_thin.Thin):
    name = "ftn"


assert type(methods.build("thin")) is _thin.Thin
assert methods.names().count("ftn") == 1
with pytest.raises(ValueError, match="^method name 'ftn' is FTN's; give __main__.Again another$"):
    methods.build("ftn")
with pytest.raises(ValueError, match="^method name 'ftn' of Again is FTN's already; change one of them$"):
    register({"Again": Again})
assert set(methods.__all__) - set(register(vars(methods))) == {
    "Allocator", "Budgeted", "Method", "Phase", "RankAllocator", "RankPolicy", "Turn", "build", "check_phases",
    "epochs_of", "method_of", "names",
}
"""


def run(script: str, folder: Path, *path: Path) -> None:
    """Runs the script in the folder, with these places first among those that modules come from."""
    places = os.pathsep.join(map(str, [*path, folder, ROOT]))
    settings = os.environ | {
        "PYTHONPATH": places,
        "HF_HUB_OFFLINE": "1",
        "MPLBACKEND": "agg",
        "PYTHONWARNINGS": "ignore",
    }
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=folder, env=settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_file_and_a_line_make_a_method_of_the_package(tmp_path: Path) -> None:
    package = tmp_path / "taskfold"
    package.mkdir()
    for path in PACKAGE.iterdir():
        if path.is_dir() and path.name not in ("methods", "__pycache__"):
            (package / path.name).symlink_to(path)
        elif path.is_file():
            shutil.copy(path, package)
    shutil.copytree(PACKAGE / "methods", package / "methods", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "docs/methods", tmp_path / "docs/methods")
    shutil.copy(ROOT / "docs/methods_index.py", tmp_path / "docs")

    (package / "methods/_thin.py").write_text(METHOD, encoding="utf-8")
    export = package / "methods/__init__.py"
    line = "from ._tensor_poly import *\n"
    text = export.read_text(encoding="utf-8")
    assert text.count(line) == 1
    export.write_text(text.replace(line, line + "from ._thin import *\n"), encoding="utf-8")
    (tmp_path / "docs/methods/thin.md").write_text("# Thin updates\n", encoding="utf-8")
    run(EVERYWHERE + INSIDE, tmp_path, tmp_path / "docs")


def test_a_users_method_is_known_and_takes_no_name_of_the_packages(tmp_path: Path) -> None:
    (tmp_path / "_thin.py").write_text(METHOD, encoding="utf-8")
    run("import _thin\n" + EVERYWHERE + OUTSIDE, tmp_path, PACKAGE.parent)


def test_no_method_is_named_where_a_new_one_would_have_to_be() -> None:
    exported = {name: getattr(methods, name) for name in methods.__all__}
    kinds = [name for name, kind in exported.items() if isinstance(kind, type) and issubclass(kind, methods.Method)]
    kinds = [name for name in kinds if hasattr(exported[name], "name")]  # bases of methods have none
    named = re.compile(rf"\b({'|'.join(kinds)})\b")
    for path in ("src/taskfold/__init__.py", "src/taskfold/methods/__init__.py", "src/taskfold/cli/count.py"):
        assert not named.search((ROOT / path).read_text(encoding="utf-8")), path


def test_every_file_that_names_a_method_says_what_it_exports() -> None:
    exports = (PACKAGE / "methods/__init__.py").read_text(encoding="utf-8")
    texts = {path.stem: path.read_text(encoding="utf-8") for path in (PACKAGE / "methods").glob("_*.py")}
    named = [stem for stem, text in texts.items() if "\n    name: ClassVar[str] = " in text]
    assert len(named) > 5
    for stem in named:
        assert "\n__all__ = [" in texts[stem], stem
        assert f"\nfrom .{stem} import *\n" in exports, stem
