"""The gain over single-task networks, one number for many tasks."""

from __future__ import annotations

from collections.abc import Mapping


def delta_m(multi: Mapping[str, float], single: Mapping[str, float], higher_is_better: Mapping[str, bool]) -> float:
    """The gain of a multi-task network over single-task networks: mean over tasks of ±(M − M_single) / M_single, in %.

    The sign is + if more is better and − if less is, so a positive result is a gain.

    Args:
        multi: the score of each task in the multi-task network.
        single: the score of its single-task network, > 0.
        higher_is_better: for each task's score.

    Raises:
        ValueError: the three have different tasks, or a score of `single` is not > 0.

    Example:
        >>> delta_m({"seg": 0.44, "depth": 0.6}, {"seg": 0.4, "depth": 0.5}, {"seg": True, "depth": False})
        -5.0
    """
    if not multi or not set(multi) == set(single) == set(higher_is_better):
        raise ValueError(
            "multi, single and higher_is_better must name the same tasks, at least one; "
            f"found {sorted(multi)}, {sorted(single)} and {sorted(higher_is_better)}"
        )
    if odd := {task: value for task, value in single.items() if not 0 < value < float("inf")}:
        raise ValueError(f"single: gains are relative to it, so every score must be > 0 and finite; found {odd}")
    gains = [(multi[task] - single[task]) / single[task] * (1 if higher_is_better[task] else -1) for task in multi]
    return round(100 * sum(gains) / len(gains), 10)
