"""The T0 held-out tasks: few-shot files by seed, and a validation file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from ._example import Example
from ._rows import Row, read_rows
from .templates import Template

__all__ = ["HELD_OUT", "SEEDS", "HeldOut", "T0Task"]

SEEDS = (0, 1024, 42)
"""The seeds of the published few-shot files."""


@dataclass(frozen=True)
class HeldOut:
    """A held-out data set: promptsource's folder of templates, and the number of published shots."""

    templates: str
    shots: int = 32


HELD_OUT: Mapping[str, HeldOut] = MappingProxyType(
    {
        "rte": HeldOut("super_glue/rte"),
        "cb": HeldOut("super_glue/cb"),
        "anli-r1": HeldOut("anli"),
        "anli-r2": HeldOut("anli"),
        "anli-r3": HeldOut("anli"),
        "copa": HeldOut("super_glue/copa"),
        "h-swag": HeldOut("hellaswag", 20),
        "storycloze": HeldOut("story_cloze/2016", 70),
        "winogrande": HeldOut("winogrande/winogrande_xl", 50),
        "wsc": HeldOut("super_glue/wsc.fixed"),
        "wic": HeldOut("super_glue/wic"),
    }
)
"""The eleven data sets, by the name of their folder."""


@dataclass(frozen=True)
class T0Task:
    """A held-out task in the folder layout of the few-shot benchmark.

        <root>/<name>/<shots>_shot/<seed>_seed.jsonl
        <root>/<name>/validation.jsonl

    Lines are JSON objects with the data set's fields. A field `template` names the template of its row; other rows
    take every template in turn, so that each row gives an example for each of its templates. Templates for
    other questions than the data set's own (`original_task: false`) are left out.

    Args:
        root: the folder.
        name: the data set's folder, one of `HELD_OUT` or another.
        templates: the templates from `templates(…)`.
        shots: the few-shot files' number of shots; None: as published.
        seeds: the seeds of the few-shot files.

    Raises:
        FileNotFoundError: files are missing; the message lists them, and the few-shot folders that exist.
        ValueError: the shots of a data set of that name are unknown, or no template is left.
    """

    root: Path
    name: str
    templates: Sequence[Template]
    shots: int | None = None
    seeds: tuple[int, ...] = SEEDS

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", Path(self.root))
        object.__setattr__(self, "templates", tuple(t for t in self.templates if t.original_task is not False))
        if not self.templates:
            raise ValueError(f"templates must hold one that asks what {self.name!r} is for, found none")
        if self.shots is None:
            if self.name not in HELD_OUT:
                raise ValueError(f"shots must be given for {self.name!r}; known by name: {', '.join(HELD_OUT)}")
            object.__setattr__(self, "shots", HELD_OUT[self.name].shots)
        wanted = [*(self._few_shot_file(seed) for seed in self.seeds), self._validation_file]
        if absent := [str(file) for file in wanted if not file.is_file()]:
            there = sorted(path.name for path in (self.root / self.name).glob("*_shot"))
            raise FileNotFoundError(
                f"T0 task {self.name!r} lacks {len(absent)} files: {', '.join(absent)}; "
                f"few-shot folders there: {', '.join(there) or 'none'}"
            )

    def few_shot(self, seed: int, *, template: str | None = None) -> list[Example]:
        """The training examples of a seed's file.

        Args:
            seed: one of `seeds`.
            template: the name of one template; None: all of them.

        Raises:
            ValueError: seed or template are unknown, the file holds another number of rows than `shots`, or a line
                cannot be used; the message has it.
        """
        if seed not in self.seeds:
            raise ValueError(f"seed must be one of {', '.join(map(str, self.seeds))}, found {seed}")
        rows = read_rows(file := self._few_shot_file(seed))
        if len(rows) != self.shots:
            raise ValueError(f"{file}: must hold {self.shots} rows, as its folder says, found {len(rows)}")
        return self._examples(rows, template, seed)

    def validation(self, *, template: str | None = None) -> list[Example]:
        """The examples of the validation file, for one template, as scores are reported per template, or for all.

        Raises:
            ValueError: the template is unknown, or a line cannot be used; the message has it.
        """
        return self._examples(read_rows(self._validation_file), template, 0)

    @property
    def _validation_file(self) -> Path:
        return self.root / self.name / "validation.jsonl"

    def _few_shot_file(self, seed: int) -> Path:
        return self.root / self.name / f"{self.shots}_shot" / f"{seed}_seed.jsonl"

    def _examples(self, rows: Sequence[tuple[str, Row]], only: str | None, seed: int) -> list[Example]:
        chosen = self._named(only, "template")
        found: list[Example] = []
        for place, row in rows:
            fields = {key: value for key, value in row.items() if key != "template"}
            own = self._named(row.get("template"), place)
            try:
                made = [template.example(fields, seed=seed) for template in own if template in chosen]
            except ValueError as error:
                raise ValueError(f"{place}: {error}") from error
            found += [example for example in made if example is not None]
        if not found:
            raise ValueError(f"T0 task {self.name!r}: template {only!r} fits none of {len(rows)} rows; choose another")
        return found

    def _named(self, name: str | None, place: str) -> list[Template]:
        named = [template for template in self.templates if name in (None, template.name)]
        if not named:
            known = ", ".join(repr(template.name) for template in self.templates)
            raise ValueError(f"{place}: no template is called {name!r}; choose one of {known}")
        return named
