"""Tables of methods, and lines over a varied quantity, as parts of a results document."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from ._parts import Name, Part, Text

Spread = Annotated[float, Field(ge=0)]
Kind = Literal["number", "percent", "gain", "count", "seconds", "bytes"]


class Measure(Part):
    """One cell: a mean with its standard deviation over ``n`` seeds, or a text, or nothing.

    In JSON a bare number stands for a mean, a bare string for a text, null for nothing. NaN is shown as "not finite".
    """

    mean: float | None = None
    std: Spread | None = None
    n: Annotated[int, Field(gt=0)] | None = None
    text: Text | None = None

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, value: Any) -> Any:
        if value is None:
            return {}
        if isinstance(value, str):
            return {"text": value}
        if isinstance(value, int | float) and not isinstance(value, bool):
            return {"mean": value}
        return value

    @model_validator(mode="after")
    def _one(self) -> Measure:
        if self.mean is not None and self.text is not None:
            raise ValueError(f"a cell has a mean or a text, found the mean {self.mean} and the text {self.text!r}")
        if self.mean is None and (self.std is not None or self.n is not None):
            raise ValueError("mean is missing; std and n belong to one")
        return self


class ComparisonColumn(Part):
    """A column: the form of its numbers, and which of them is the best, if any.

    ``kind`` "percent" takes fractions between 0 and 1, "gain" differences in %, printed with their sign.
    Neighbours of one ``group`` (a task) share a heading, and a narrow terminal leaves ``main`` columns out
    last. A figure shows the first column whose ``axis`` is "score" over each one whose is "cost". In JSON a bare string
    stands for the title of plain numbers.
    """

    title: Name
    kind: Kind = "number"
    best: Literal["highest", "lowest"] | None = None
    group: Text = ""
    main: bool = False
    axis: Literal["score", "cost"] | None = None

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, value: Any) -> Any:
        return {"title": value} if isinstance(value, str) else value

    @property
    def name(self) -> str:
        """The title with its group in front, for a column that stands alone."""
        return f"{self.group} {self.title}".strip()


class ComparisonRow(Part):
    """A row: the label of the compared object, and a cell for every column."""

    label: Name
    cells: tuple[Measure, ...]


class Comparison(Part):
    """A table of anything: methods by language, by number of examples, by cost.

    ``first`` is the labels' heading; if it is "method", labels have the colours of the figures.
    """

    title: Name
    note: Text = ""
    first: Name = "method"
    columns: Annotated[tuple[ComparisonColumn, ...], Field(min_length=1)]
    rows: Annotated[tuple[ComparisonRow, ...], Field(min_length=1)]

    @property
    def spread(self) -> bool:
        """Whether a cell has a standard deviation."""
        return any(cell.std is not None for row in self.rows for cell in row.cells)

    @model_validator(mode="after")
    def _rectangular(self) -> Comparison:
        seen: set[str] = set()
        for index, row in enumerate(self.rows):
            if row.label in seen:
                raise ValueError(f"rows[{index}].label: {row.label!r} is there twice; labels must differ")
            seen.add(row.label)
            if len(row.cells) != len(self.columns):
                found = f"found {len(row.cells)} for {len(self.columns)} columns"
                raise ValueError(f"rows[{index}].cells must be one for each column, {found}")
            for place, (column, cell) in enumerate(zip(self.columns, row.cells, strict=True)):
                if column.kind == "percent" and cell.mean is not None and (cell.mean < 0 or cell.mean > 1):
                    name = f"rows[{index}].cells[{place}].mean"
                    raise ValueError(
                        f"{name} of a percent column must be a fraction between 0 and 1, found {cell.mean}"
                    )
        return self


class Series(Part):
    """A line: ``mean`` over ``x``, with the standard deviation over seeds; null without a measurement."""

    label: Name
    x: Annotated[tuple[float, ...], Field(min_length=1)]
    mean: tuple[float | None, ...]
    std: tuple[Spread | None, ...] | None = None

    @model_validator(mode="after")
    def _parallel(self) -> Series:
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and len(values) != len(self.x):
                raise ValueError(f"{name} must hold one value for each x, found {len(values)} for {len(self.x)}")
        return self


class Study(Part):
    """Lines over one varied quantity; ``x`` and ``y`` are the axes' labels, ``log_x`` asks for powers of two."""

    title: Name
    x: Name
    y: Name
    log_x: bool = False
    note: Text = ""
    series: Annotated[tuple[Series, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _drawable(self) -> Study:
        for index, series in enumerate(self.series):
            if series.label in [other.label for other in self.series[:index]]:
                raise ValueError(f"series[{index}].label: {series.label!r} is there twice; labels must differ")
            bad = next((x for x in series.x if not (x > 0 if self.log_x else abs(x) < float("inf"))), None)
            if bad is not None:
                rule = "positive, because log_x is true" if self.log_x else "finite"
                raise ValueError(f"series[{index}].x must be {rule}; found {bad}")
        return self
