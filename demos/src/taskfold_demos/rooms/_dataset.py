"""A folder of rendered rooms in NYUv2's layout: what is missing is made."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

from taskfold.processes import side_by_side
from taskfold.tasks import write_atomically

from ._folder import BEGUN, DONE, check_folder, default_folder, describe
from ._part import KINDS, PARTS, check_size, check_whole, complete, room, save
from ._progress import counted
from ._render import Renderer, load_pybullet

_Job = tuple[Path, str, int, int, tuple[int, int]]


def rooms(
    folder: str | os.PathLike[str] | None = None,
    *,
    train: int = 1000,
    val: int = 100,
    test: int = 200,
    size: tuple[int, int] = (128, 160),
    seed: int = 0,
    processes: int = 1,
    quiet: bool | None = None,
) -> Path:
    """Rendered rooms on disk, in NYUv2's layout; made on the first call, completed if that was interrupted.

    `{train,val,test}/{image,label,depth,normal,instance}/{i}.npy`; what each holds is said by `View`. `rooms.json` is
    written last: without it, the folder is not complete.

    Args:
        folder: where; None: in `$TASKFOLD_DATA`, else in the user's cache, a folder for each choice of the settings.
        train: rooms to learn from.
        val: rooms to choose with.
        test: rooms to measure with.
        size: height and width in pixels, multiples of 32.
        seed: another seed gives other rooms.
        processes: how many render at once; above 1 a script needs `if __name__ == "__main__":`.
        quiet: show no progress; None: only in a terminal.

    Returns:
        The folder.

    Raises:
        ValueError: an argument is out of its range.
        DataError: the folder holds rooms of other settings, or something else.
        MissingExtraError: rooms are missing, and pybullet is not installed.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as place:
        ...     made = rooms(Path(place) / "tiny", train=2, val=1, test=1, size=(32, 64), quiet=True)
        ...     sorted(path.name for path in made.iterdir())
        ['rooms.json', 'test', 'train', 'val']
    """
    counts = {"train": train, "val": val, "test": test}
    for name, count in counts.items():
        check_whole(name, count, 1)
    check_size(size)
    check_whole("seed", seed, 0)
    check_whole("processes", processes, 1)
    place = default_folder(counts, size, seed) if folder is None else Path(folder)
    settings = describe(counts, size, seed)
    check_folder(place, settings)
    height, width = size
    jobs: list[_Job] = [
        (place, part, index, seed, (height, width))
        for part in PARTS
        for index in range(counts[part])
        if not complete(place / part, index, size)
    ]
    if not jobs and (place / DONE).is_file():
        return place
    load_pybullet()  # before anything is written
    text = json.dumps(settings, indent=1).encode() + b"\n"
    place.mkdir(parents=True, exist_ok=True)
    write_atomically(place / BEGUN, text)
    (place / DONE).unlink(missing_ok=True)
    for kind in KINDS:
        for part in PARTS:
            (place / part / kind).mkdir(parents=True, exist_ok=True)
    shares = [partial(_made, jobs[first::processes]) for first in range(min(processes, len(jobs)))]
    with closing(side_by_side(None, shares, processes)) as done:
        for _ in counted(done, len(jobs), "rooms", quiet):
            pass
    write_atomically(place / DONE, text)
    (place / BEGUN).unlink(missing_ok=True)
    return place


def _made(jobs: list[_Job], common: None) -> Iterator[None]:
    """Does jobs, one step for each."""
    with Renderer() as renderer:
        for place, part, index, seed, size in jobs:
            yield save(room(index, part, seed=seed, size=size, renderer=renderer), place / part, index)
