"""How mixed batches are answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from ._runner import Runner

Handling = Literal["checked", "separate"]
"""Of mixed batches: in one pass where it is known which rows layers see, or always task by task."""


def checked(rows: object) -> Handling:
    """A way to answer mixed batches.

    Raises:
        ValueError: there is no such way.
    """
    if rows not in get_args(Handling):
        raise ValueError(f"rows must be 'checked' or 'separate', found {rows!r:.40}")
    return rows  # type: ignore[return-value]


class MixedRows:
    """What runs mixed batches says how."""

    _runner: Runner

    @property
    def rows(self) -> Handling:
        """How a mixed batch is answered, `checked` or `separate`; may be set at any time."""
        return self._runner.rows

    @rows.setter
    def rows(self, rows: Handling) -> None:
        self._runner.rows = checked(rows)
