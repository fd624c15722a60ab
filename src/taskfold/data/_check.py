"""Checks of data before a training begins."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal

from ._errors import DataError, MissingDataError, UnreadableImageError, first_few
from ._images import verify
from ._repeated import repeated
from ._sets import ImageSet, TaskData

Corrupt = Literal["error", "skip", "trust"]
CHUNK = 64  # images that one thread verifies at a time


@dataclass(frozen=True)
class Problem:
    """A problem of a task's data.

    Attributes:
        task: the task's name.
        kind: the kind of problem, in a word or two; stable, for programs.
        message: place, value found and remedy, for people.
        fatal: training cannot begin.
    """

    task: str
    kind: str
    message: str
    fatal: bool = True

    def __str__(self) -> str:
        return f"task {self.task!r}: {self.message}"


@dataclass(frozen=True)
class Unreadable:
    """An image that cannot be read, and why."""

    index: int
    name: str
    reason: str


def check(data: TaskData, read_images: bool = False) -> list[Problem]:
    """All problems of one task's data.

    Args:
        data: the task's data.
        read_images: also decode every image file, in threads.

    Returns:
        Problems, gravest first; empty if there are none.
    """
    problems = [*_empty(data), *(_of_classes(data) if data.problem.of_classes else _of_others(data))]
    if read_images:
        problems += [
            Problem(data.name, "repeated image", text, fatal=False) for text in repeated(data.splits, data.labels)
        ]
        for split, images in data.splits.items():
            if bad := unreadable(images):
                problems.append(Problem(data.name, "unreadable images", _unreadable_message(split, bad)))
    return sorted(problems, key=lambda problem: not problem.fatal)


def check_names(tasks: Iterable[TaskData]) -> list[Problem]:
    """Problems of task names that are used more than once."""
    count = Counter(data.name for data in tasks)
    return [
        Problem(name, "duplicate name", f"the name is used by {n} tasks: give each its own")
        for name, n in count.items()
        if n > 1
    ]


def sound(tasks: Sequence[TaskData], corrupt: Corrupt = "error") -> tuple[TaskData, ...]:
    """The tasks, if training can begin; decodes every image file once, in threads.

    Args:
        tasks: the tasks that will be trained.
        corrupt: the treatment of unreadable images: `error`; `skip` drops them with a note; `trust` does not check.

    Returns:
        The tasks, with problems that do not stop training added to their notes.

    Raises:
        DataError: tasks have fatal problems; the message lists all.
    """
    tasks = tuple(without_unreadable(data) for data in tasks) if corrupt == "skip" else tuple(tasks)
    found = [check(data, read_images=corrupt == "error") for data in tasks]
    problems = [*check_names(tasks), *(problem for several in found for problem in several)]
    if fatal := [str(problem) for problem in problems if problem.fatal]:
        raise DataError("\n".join(fatal))
    return tuple(
        replace(data, notes=(*data.notes, *(problem.message for problem in several)))
        for data, several in zip(tasks, found, strict=True)
    )


def unreadable(images: ImageSet, threads: int | None = None) -> list[Unreadable]:
    """The images that cannot be decoded to the end. Images in memory take no time."""

    def attempt(start: int) -> list[Unreadable]:
        bad: list[Unreadable] = []
        for index in range(start, min(start + CHUNK, len(images))):
            try:
                verify(images.read, index)
            except (UnreadableImageError, MissingDataError) as error:
                bad.append(Unreadable(index, images.names[index], str(error)))
        return bad

    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        return [item for bad in pool.map(attempt, range(0, len(images), CHUNK)) for item in bad]


def without_unreadable(data: TaskData) -> TaskData:
    """The task without images that cannot be decoded; the notes name them."""
    splits, notes = dict(data.splits), list(data.notes)
    for split, images in data.splits.items():
        if bad := unreadable(images):
            skipped = {item.index for item in bad}
            splits[split] = images.subset(index for index in range(len(images)) if index not in skipped)
            notes.append(f"{len(bad)} unreadable {split} images skipped: {first_few(item.name for item in bad)}")
    return replace(data, **splits, notes=tuple(notes))


def _unreadable_message(split: str, bad: Sequence[Unreadable]) -> str:
    reasons = "".join(f"\n    {item.reason}" for item in bad[:5])
    more = f"\n    and {len(bad) - 5} more" if len(bad) > 5 else ""
    return (
        f"{len(bad)} {split} images cannot be read: replace or remove them, "
        f"or leave them out with corrupt: skip{reasons}{more}"
    )


def _empty(data: TaskData) -> Iterable[Problem]:
    for split, images in data.splits.items():
        if len(images) == 0:
            yield Problem(data.name, "no images", f"the {split} split has no images: add some, or change the split")


def _of_classes(data: TaskData) -> Iterable[Problem]:
    return [*_labels(data), *_targets(data), *_classes(data)]


def _of_others(data: TaskData) -> Iterable[Problem]:
    if all(data.splits.values()):
        targets = {split: images.targets for split, images in data.splits.items()}
        for message in data.problem.check(targets, data.labels):
            yield Problem(data.name, "targets", message)


def _labels(data: TaskData) -> Iterable[Problem]:
    if len(data.labels) < 2:
        found = f"only {data.labels[0]!r}" if data.labels else "none"
        yield Problem(data.name, "one class", f"needs at least 2 classes, found {found}: add images of another class")
    if twice := [label for label, n in Counter(data.labels).items() if n > 1]:
        yield Problem(data.name, "duplicate label", f"labels occur twice: {first_few(twice)}: keep one of each")
    alike: dict[str, list[str]] = {}
    for label in dict.fromkeys(data.labels):
        alike.setdefault(label.casefold(), []).append(label)
    if pairs := [" and ".join(map(repr, several)) for several in alike.values() if several[1:]]:
        message = f"classes that differ in the case of letters alone: {first_few(pairs)}"
        yield Problem(data.name, "labels alike", message, fatal=False)


def _targets(data: TaskData) -> Iterable[Problem]:
    for split, images in data.splits.items():
        wrong = [i for i, target in enumerate(images.targets) if not 0 <= target < len(data.labels)]
        if wrong:
            examples = first_few(f"{images.names[i]} has {images.targets[i]}" for i in wrong)
            yield Problem(
                data.name,
                "target out of range",
                f"{split} targets must be 0 to {len(data.labels) - 1}, one for each label; {examples}",
            )


def _classes(data: TaskData) -> Iterable[Problem]:
    if not len(data.train):
        return
    learnt = set(data.train.targets)
    held_out = {*data.val.targets, *data.test.targets}
    missing = [target for target in range(len(data.labels)) if target not in learnt]
    fatal = not data.fixed_labels
    remedy = "add images, or take the class out" if fatal else "they can never be predicted"
    if unseen := [data.labels[target] for target in missing if target in held_out]:
        message = f"classes in val or test without a training image: {first_few(unseen)}: {remedy}"
        yield Problem(data.name, "class not in train", message, fatal)
    if empty := [data.labels[target] for target in missing if target not in held_out]:
        message = f"classes without any image: {first_few(empty)}: {remedy}"
        yield Problem(data.name, "empty class", message, fatal)
