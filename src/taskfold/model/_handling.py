"""The setting `rows`, which chooses how mixed batches are answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from ._runner import Runner

Handling = Literal["checked", "separate"]
"""`checked`: in one pass if the layouts of rows are known, else task by task; `separate`: always task by task."""


def checked(rows: object) -> Handling:
    """Checks the setting.

    Raises:
        ValueError: it is unknown.
    """
    if rows not in get_args(Handling):
        raise ValueError(f"rows must be 'checked' or 'separate', found {rows!r:.40}")
    return rows  # type: ignore[return-value]


class MixedRows:
    """The property `rows`, for classes that run mixed batches."""

    _runner: Runner

    @property
    def rows(self) -> Handling:
        """How a mixed batch is answered, `checked` or `separate`; may be set at any time."""
        return self._runner.rows

    @rows.setter
    def rows(self, rows: Handling) -> None:
        self._runner.rows = checked(rows)
