"""Check the laws on the whole zoo: `python -m tests.zoo [words of names …]`.

Each network runs in a process of its own, whose results are kept in a folder and not computed again. Without
names it writes the page docs/networks.md.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from pathlib import Path

import torch

from .catalogue import entries
from .entry import Entry
from .page import PAGE, write
from .subject import METHODS
from .trial import tried_on

SECONDS = 600


def main() -> int:
    words = argparse.ArgumentParser(prog="python -m tests.zoo", description=__doc__)
    words.add_argument("names", nargs="*", help="only networks whose name contains one of these")
    words.add_argument("--results", type=Path, default=Path(".zoo"), help="folder of results (default: .zoo)")
    words.add_argument("--again", action="store_true", help="run also what has a result")
    words.add_argument("--methods", nargs="*", default=list(METHODS), help="only these")
    words.add_argument("--seconds", type=float, default=SECONDS, help="a network may take that long")
    given = words.parse_args()
    torch.set_num_threads(1)
    given.results.mkdir(parents=True, exist_ok=True)
    chosen = [one for one in entries() if not given.names or any(word in one.name for word in given.names)]
    left = [one for one in chosen if given.again or not _file(given.results, one).exists()]
    begun = time.monotonic()
    for n, entry in enumerate(left):
        _progress(n, len(left), begun, entry.name)
        _alone(entry, _file(given.results, entry), tuple(given.methods), given.seconds)
    _progress(len(left), len(left), begun, "")
    if not given.names:
        write(given.results, PAGE)
    return _summary(given.results, chosen)


def _file(folder: Path, entry: Entry) -> Path:
    return folder / f"{entry.name.replace('/', '-')}.json"


def _alone(entry: Entry, path: Path, methods: tuple[str, ...], seconds: float) -> None:
    """One network in a process of its own: what it takes, and how it may end, is its own."""
    process = multiprocessing.get_context("fork").Process(target=_work, args=(entry, path, methods))
    process.start()
    process.join(seconds)
    if process.is_alive():
        process.kill()
        process.join()
        why = f"it took more than {seconds:g} seconds"
    else:
        why = f"the process ended with {process.exitcode}"
    if not path.exists():
        _write(path, {"network": entry.name, "family": entry.family, "broken": why})


def _work(entry: Entry, path: Path, methods: tuple[str, ...]) -> None:
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        _write(path, tried_on(entry, methods))


def _write(path: Path, result: object) -> None:
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    draft.replace(path)


def _progress(done: int, of: int, begun: float, name: str) -> None:
    """A bar with the time that is left, for people alone."""
    if not sys.stderr.isatty() or not of:
        return
    left = (time.monotonic() - begun) / done * (of - done) if done else 0.0
    bar = "█" * (20 * done // of)
    end = "\n" if done == of else ""
    sys.stderr.write(f"\r\033[K{bar:░<20} {done}/{of}  {left / 60:.0f} min left  {name}{end}")
    sys.stderr.flush()


def _summary(folder: Path, chosen: list[Entry]) -> int:
    """Faults, one a line, and how many there are."""
    found = [json.loads(_file(folder, one).read_text(encoding="utf-8")) for one in chosen]
    faults = []
    for one in found:
        if "broken" in one:
            faults.append(f"{one['network']}: {one['broken']}")
        for method, laws in one.get("methods", {}).items():
            faults += [f"{one['network']}, {method}, {law}: {how}" for law, how in laws.items() if "fault" in how[:5]]
    for fault in faults:
        print(fault.replace("\n", " ")[:300])
    print(f"{len(found)} networks, {len(faults)} faults")
    return bool(faults)


if __name__ == "__main__":
    raise SystemExit(main())
