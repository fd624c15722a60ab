"""Which tasks to train together: the grouping of largest predicted gain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

EXHAUSTIVE = 9
"""With at most as many tasks every grouping is tried (21,147); with more, groups are merged and improved."""

Matrix = Sequence[Sequence[float]]
Groups = list[list[int]]


def predicted_gain(gains: Matrix, groups: Sequence[Sequence[int]]) -> float:
    """The sum of gains over ordered pairs of tasks in one group; a task by itself gains 0.

    Example:
        >>> predicted_gain([[9, 1], [-3, 9]], [[0, 1]]), predicted_gain([[9, 1], [-3, 9]], [[0], [1]])
        (-2.0, 0.0)
    """
    return float(sum(gains[i][j] for group in groups for i in group for j in group if i != j))


def best_groups(gains: Matrix, count: int | None = None) -> Groups:
    """The grouping of largest predicted gain: exact for few tasks, merged greedily and then improved for more.

    A joint step is the sum of its tasks' steps. To first order, a task's gain from its group is the sum of its gains
    from the other tasks' steps; a grouping's gain is the sum over all ordered pairs within groups. That is
    correlation clustering, which finds its own number of groups (Bansal, Blum and Chawla 2004). Of equally good
    groupings the one with more groups is chosen.

    Args:
        gains: `[T][T]`, the gain of task j by a step for task i; the diagonal is ignored.
        count: how many groups, from 1 to T; None: the best number.

    Returns:
        Indices of tasks by group, in order.

    Raises:
        ValueError: `count` is not from 1 to T.

    Example:
        >>> best_groups([[0, 2, -1], [1, 0, -4], [-1, 1, 0]])
        [[0, 1], [2]]
    """
    total = len(gains)
    if count is not None and not (isinstance(count, int) and 1 <= count <= total):
        raise ValueError(f"groups={count} must be a whole number from 1 to the number of tasks, {total}")
    pairs = [[float(gains[i][j] + gains[j][i]) * (i != j) for j in range(total)] for i in range(total)]
    if total <= EXHAUSTIVE:
        found = max(_all(pairs, total if count is None else count), key=lambda one: _rank(one, count))[1]
    else:
        found = _improved(pairs, _merged(pairs, count), count)
    return sorted(sorted(group) for group in found if group)


def _rank(one: tuple[float, Groups], count: int | None) -> tuple[float, int]:
    gain, groups = one
    return gain if count in (None, len(groups)) else float("-inf"), len(groups)


def _all(pairs: Matrix, most: int) -> Iterator[tuple[float, Groups]]:
    """Every grouping into at most `most` groups, with its gain."""
    groups: Groups = []

    def add(item: int, gain: float) -> Iterator[tuple[float, Groups]]:
        if item == len(pairs):
            yield gain, [list(group) for group in groups]
            return
        for group in groups:
            more = sum(pairs[item][other] for other in group)
            group.append(item)
            yield from add(item + 1, gain + more)
            group.pop()
        if len(groups) < most:
            groups.append([item])
            yield from add(item + 1, gain)
            groups.pop()

    return add(0, 0.0)


def _between(pairs: Matrix, one: Sequence[int], other: Sequence[int]) -> float:
    return sum(pairs[i][j] for i in one for j in other if i != j)


def _merged(pairs: Matrix, count: int | None) -> Groups:
    """Greedy merging, from single tasks on, of the two groups that gain most from one another."""
    groups = [[n] for n in range(len(pairs))]
    while len(groups) > (count or 1):
        rated = [
            (_between(pairs, one, other), -a, -b) for a, one in enumerate(groups) for b, other in enumerate(groups[:a])
        ]
        gain, a, b = max(rated)
        if count is None and gain <= 0:
            break
        groups[-b] += groups.pop(-a)
    return groups


def _improved(pairs: Matrix, groups: Groups, count: int | None) -> Groups:
    """Moves single tasks while that increases the gain."""
    groups = [list(group) for group in groups] + ([[]] if count is None else [])
    moved = True
    while moved:
        moved = False
        for item in range(len(pairs)):
            here = next(n for n, group in enumerate(groups) if item in group)
            if count is not None and len(groups[here]) == 1:
                continue
            rated = [_between(pairs, [item], group) for group in groups]
            best = max(range(len(groups)), key=rated.__getitem__)
            if rated[best] > rated[here] + 1e-12:
                groups[here].remove(item)
                groups[best].append(item)
                moved = True
                if count is None and [] not in groups:
                    groups.append([])
    return groups
