"""Options of the test suite, and the Python blocks of the Markdown pages where sybil is installed.

--device cuda              the device that tests/device runs on
--seconds 180              ends after so long, as a failed run; says how many tests are left, and reports the others
--bare                     refuses to run where a package of an extra is installed; leaves out examples that import one
--whole                    also the tests that say the same of further networks (marked `whole`), and all values of a
                           parameter that others take in turn (marked `in_turn`), and all cases of tests that have
                           many (marked `sampled`)
--compile-with inductor    only the tests that compile, with that backend in place of the cheaper ones they name
"""

from __future__ import annotations

import ast
import functools
import gc
import inspect
import os
import tempfile
import time
import zlib
from collections.abc import Callable, Generator, Iterable, Mapping
from doctest import ELLIPSIS, NORMALIZE_WHITESPACE
from importlib.metadata import distributions, requires
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

collect_ignore = ["docs/conf.py", *(() if find_spec("ray") else ("src/taskfold/serve/replicas.py",))]
PAGES = find_spec("sybil") is not None
CHEAP = ("eager", "aot_eager")
"""Backends of torch.compile that trace and generate no code."""

_UNTIL = pytest.StashKey[float]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cpu", help="the device that tests/device runs on: cpu, cuda, cuda:1")
    parser.addoption("--seconds", type=float, default=float("inf"), help="end after so long, and fail")
    parser.addoption("--bare", action="store_true", help="refuse to run where a package of an extra is installed")
    parser.addoption("--whole", action="store_true", help="also the tests that are marked `whole`")
    parser.addoption("--compile-with", metavar="BACKEND", help="only the tests that compile, with this backend")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "whole: says of a further network what others say of one; runs with --whole")
    config.addinivalue_line("markers", "drawn: looks at the report of a command, which others do not wait for")
    config.addinivalue_line("markers", "in_turn(name): others take one value of this parameter each; all with --whole")
    config.addinivalue_line("markers", "sampled(n): one case in n, drawn by its name, is enough; all with --whole")
    config.stash[_UNTIL] = time.monotonic() + config.getoption("--seconds")
    if torch.device(config.getoption("--device")).type == "cuda" and not torch.cuda.is_available():
        raise pytest.UsageError(
            f"--device {config.getoption('--device')}: torch {torch.__version__} finds no CUDA here"
        )
    if config.getoption("--bare") and (there := _of_extras()):
        raise pytest.UsageError(f"--bare: taskfold is to run without extras, and there are {', '.join(there)}")
    backend, known = config.getoption("--compile-with"), torch._dynamo.list_backends(exclude_tags=())
    if backend is not None and backend not in known:
        raise pytest.UsageError(f"--compile-with {backend}: no backend of torch.compile; known: {', '.join(known)}")


def _of_extras() -> list[str]:
    """Installed packages that extras alone ask for: neither the tests themselves nor torch, which needs jinja2."""
    here = {canonicalize_name(one.name) for one in distributions()}
    asked: dict[bool, set[str]] = {True: set(), False: set()}
    for package in ("taskfold", "torch"):
        for requirement in map(Requirement, requires(package) or ()):
            extra = str(requirement.marker or "").partition("extra == ")[2].strip("\"'")
            if package == "taskfold" or not extra:
                asked[bool(extra) and extra != "test"].add(canonicalize_name(requirement.name))
    return sorted((asked[True] - asked[False]) & here)


def pytest_report_header(config: pytest.Config) -> list[str]:
    lines = [f"torch {torch.__version__}, device {config.getoption('--device')}"]
    if config.getoption("--compile-with"):
        lines.append(f"{' and '.join(CHEAP)} are replaced by {config.getoption('--compile-with')}; no other tests run")
    if not PAGES:
        lines.append("sybil is not installed: the examples of the Markdown pages do not run")
    return lines


def pytest_runtest_protocol(item: pytest.Item) -> None:
    """A test that begins when time is over is the last one; the run has failed, and reports what it found."""
    if time.monotonic() > item.config.stash[_UNTIL]:
        left = len(item.session.items) - item.session.items.index(item) - 1
        item.session.shouldfail = (
            f"--seconds {item.config.getoption('--seconds'):g} are over: {left} tests have not run"
        )


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Thousands of tests stay until the end: the garbage collector looks for nothing among them, now and later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_unconfigure() -> None:
    gc.unfreeze()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--whole"):
        _keep(config, items, lambda item: item.get_closest_marker("whole") is None)
        places = _places(items)
        _keep(config, items, lambda item: _its_turn(item, places) and _drawn(item))
    if config.getoption("--compile-with"):
        _keep(config, items, _compiles)
    if config.getoption("--bare"):
        _keep(config, items, _runs_bare)


def _runs_bare(item: pytest.Item) -> bool:
    """Whether everything that a docstring's example imports is installed."""
    if not isinstance(item, pytest.DoctestItem) or item.dtest is None:
        return True
    source = ast.parse("".join(example.source for example in item.dtest.examples))
    imports = [node for node in ast.walk(source) if isinstance(node, ast.Import)]
    return all(find_spec(name.name.partition(".")[0]) for one in imports for name in one.names)


def _keep(config: pytest.Config, items: list[pytest.Item], which: Callable[[pytest.Item], bool]) -> None:
    kept: list[pytest.Item] = []
    left: list[pytest.Item] = []
    for item in items:
        (kept if which(item) else left).append(item)
    config.hook.pytest_deselected(items=left)
    items[:] = kept


Place = tuple[object, str]
"""A test and a parameter of it."""


def _places(items: Iterable[Any]) -> dict[Place, dict[int, int]]:
    """Where each value stands among those of its parameter, by the value's identity.

    What pytest calls indices counts tests and not values, where a test has several parameters.
    """
    found: dict[Place, dict[int, int]] = {}
    for item in items:
        for name, value in getattr(getattr(item, "callspec", None), "params", {}).items():
            places = found.setdefault((item.function, name), {})
            places.setdefault(id(value), len(places))
    return found


def _its_turn(item: Any, places: Mapping[Place, Mapping[int, int]]) -> bool:
    """Of a parameter that is `in_turn` one value for each combination of the others: every pair of values is tried."""
    for marker in item.iter_markers("in_turn"):
        here = sum(places[item.function, name][id(value)] for name, value in item.callspec.params.items())
        if here % len(places[item.function, marker.args[0]]):
            return False
    return True


def _drawn(item: pytest.Item) -> bool:
    """Whether the test is among those that are drawn of its cases."""
    marker = item.get_closest_marker("sampled")
    return marker is None or zlib.crc32(item.name.encode()) % marker.args[0] == 0


def _compiles(item: pytest.Item) -> bool:
    """Whether the test itself names a backend that can be replaced."""
    source = inspect.getsource(item.function) if isinstance(item, pytest.Function) else ""
    return "torch.compile(" in source and any(f'backend="{name}"' in source for name in CHEAP)


@pytest.fixture(autouse=True)
def _compiled_with(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the backend of `--compile-with` to whoever names a cheap one; a test's own callable stays."""
    asked: str | None = request.config.getoption("--compile-with")
    if asked is None:
        return
    compile_: Callable[..., Any] = torch.compile

    @functools.wraps(compile_)
    def replaced(*args: Any, backend: Any = "inductor", **kwargs: Any) -> Any:
        return compile_(*args, backend=asked if backend in CHEAP else backend, **kwargs)

    monkeypatch.setattr(torch, "compile", replaced)


def _enter(namespace: dict[str, Any]) -> None:
    namespace["_home"] = os.getcwd()
    namespace["_folder"] = tempfile.TemporaryDirectory()
    os.chdir(namespace["_folder"].name)


def _leave(namespace: dict[str, Any]) -> None:
    os.chdir(namespace["_home"])
    namespace["_folder"].cleanup()


def _configuration(example: Any) -> None:
    from taskfold.config.compare import load_compare  # noqa: PLC0415 - not for runs without pages
    from taskfold.config.run import load_any  # noqa: PLC0415

    Path("config.yaml").write_text(example.parsed, encoding="utf-8")
    (load_compare if "\ncompare:" in example.parsed else load_any)("config.yaml")


if PAGES:
    from sybil import Sybil
    from sybil.parsers.myst import CodeBlockParser, PythonCodeBlockParser, SkipParser

    pytest_collect_file = Sybil(
        parsers=[
            PythonCodeBlockParser(doctest_optionflags=ELLIPSIS | NORMALIZE_WHITESPACE),
            CodeBlockParser(language="yaml", evaluator=_configuration),
            SkipParser(),
        ],
        patterns=["README.md", "docs/*.md", "docs/methods/*.md"],
        setup=_enter,
        teardown=_leave,
    ).pytest()
