"""Runs the Python blocks of the Markdown pages, each page as one story, in a folder of its own; checks YAML blocks."""

from __future__ import annotations

import os
import tempfile
from doctest import ELLIPSIS, NORMALIZE_WHITESPACE
from pathlib import Path
from typing import Any

from sybil import Example, Sybil
from sybil.parsers.myst import CodeBlockParser, PythonCodeBlockParser, SkipParser

collect_ignore = ["docs/conf.py"]


def _enter(namespace: dict[str, Any]) -> None:
    namespace["_home"] = os.getcwd()
    namespace["_folder"] = tempfile.TemporaryDirectory()
    os.chdir(namespace["_folder"].name)


def _leave(namespace: dict[str, Any]) -> None:
    os.chdir(namespace["_home"])
    namespace["_folder"].cleanup()


def _configuration(example: Example) -> None:
    from taskfold.config.run import load_any  # noqa: PLC0415 - not for runs without pages

    Path("config.yaml").write_text(example.parsed, encoding="utf-8")
    load_any("config.yaml")


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
