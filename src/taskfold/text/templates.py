"""Prompt templates from promptsource's YAML files."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from ._jinja import TemplateError, extra
from ._template import Template

__all__ = ["Template", "TemplateError", "templates"]


def templates(path: str | Path) -> list[Template]:
    """The templates of a promptsource YAML file, or of all `templates.yaml` below a folder.

    Args:
        path: a file, or a folder such as promptsource's `templates`, `templates/super_glue` or `templates/anli`.

    Raises:
        FileNotFoundError: there is no such file, or none in the folder.
        TemplateError: a file has another layout, or a template cannot work.
    """
    root = Path(path)
    files = [root] if root.is_file() else sorted(root.rglob("templates.yaml"))
    if not files:
        raise FileNotFoundError(f"templates: no file {root}, and no templates.yaml below it")
    return [template for file in files for template in _read(file)]


def _read(file: Path) -> list[Template]:
    yaml = extra("yaml")
    loader = _loader()(file.read_text(encoding="utf-8"))
    try:
        document = loader.get_single_data()
    except yaml.YAMLError as error:
        raise TemplateError(f"{file}: cannot be read: {error}") from error
    finally:
        loader.dispose()
    if not isinstance(document, dict) or not isinstance(document.get("templates"), dict):
        raise TemplateError(f"{file}: must have a mapping 'templates', as promptsource writes it")
    dataset = "/".join(str(document[key]) for key in ("dataset", "subset") if document.get(key))
    return [_template(file, dataset, entry) for entry in document["templates"].values()]


def _template(file: Path, dataset: str, entry: Any) -> Template:
    if not isinstance(entry, dict) or not {"name", "jinja"} <= entry.keys():
        raise TemplateError(f"{file}: a template must have name and jinja, found {entry!r}")
    metadata = entry.get("metadata") or {}
    try:
        return Template(
            name=str(entry["name"]),
            jinja=str(entry["jinja"]),
            answer_choices=entry.get("answer_choices"),
            dataset=dataset,
            original_task=metadata.get("original_task"),
            metrics=tuple(metadata.get("metrics") or ()),
        )
    except TemplateError as error:
        raise TemplateError(f"{file}: {error}") from error


@cache
def _loader() -> Any:
    """YAML's safe loader, which reads promptsource's two tags as plain mappings; any other tag is an error."""
    yaml = extra("yaml")

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        pass

    for tag in ("!Template", "!TemplateMetadata"):
        Loader.add_constructor(tag, lambda loader, node: loader.construct_mapping(node, deep=True))
    return Loader
