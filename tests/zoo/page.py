"""The page docs/networks.md from the zoo's results: `python -m tests.zoo.page`."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

from .subject import METHODS

PAGE = Path(__file__).parents[2] / "docs" / "networks.md"
LAWS = ("fold", "bank", "broadcast", "hooks", "training")
HOLDS = ("holds", "in one pass", "task by task", "one by one")
HEAD = """# Networks that are tried

A network's code decides where it puts the rows of a batch, what it keeps between calls and which weights it reads, and
Taskfold does not control that. So Taskfold's promises are tested on {networks} networks of
timm {timm}, torchvision {torchvision} and transformers {transformers},
small and with random weights, each with LoRA on linear layers and convolutions, FTN where
there are convolutions, fine-tuning, and own normalisation: {pairs} pairs of a network and a method. `make zoo` tests
them all, and writes this page; a sample runs with the tests.

For every pair:

- a mixed batch is its tasks one by one, row by row, in two mixtures, or it is **refused** with the name of the network
  or of a layer. Where Taskfold does not know which task a layer's rows belong to, tasks run **task by task**, which is
  right and slower; a warning says so once;
- a fold is its task; a bank and a broadcast say what the model says;
- a forward hook on an inner layer acts as it does on the fold, and is gone when it is removed;
- a step of training moves nothing of the backbone and of the other task, to the last bit.

Two tasks must differ by 100 tolerances where they are compared (1e-4 of 1 plus the number's size; what looks wrong
there is tested in double precision at 1e-6). Where they don't, equality would show nothing: the table says *not shown*.

| mixed batches | pairs |
|---|---|
{counts}

{faults}

| network | family | how mixed batches run | fold | bank | broadcast | hooks | training |
|---|---|---|---|---|---|---|---|
{rows}
"""
WIDTH = 150
PLAIN = str.maketrans("|`<*_", "/'‹×_")
"""Signs that mean something in a table."""


def kind_of(how: str) -> str:
    """The word before the reason."""
    return how.partition(":")[0]


def reason(how: str) -> str:
    """Why, as one short line that a table can hold."""
    why = " ".join(how.partition(":")[2].split()).translate(PLAIN)
    return why if len(why) <= WIDTH else why[: WIDTH - 1] + "…"


def laws_of(result: dict[str, Any]) -> dict[str, dict[str, str]]:
    """By method what was found of each law; methods that find nothing to adapt are left out."""
    found: dict[str, dict[str, str]] = {}
    for method in METHODS:
        laws = dict(result["methods"].get(method, {"all": "absent"}))
        laws.pop("trace", None)
        if "all" in laws:
            if kind_of(laws["all"]) == "absent":
                continue
            laws = dict.fromkeys(("mixed", *LAWS), laws["all"])
        found[method] = laws
    return found


def mixed(laws: dict[str, dict[str, str]]) -> str:
    """How mixed batches run, method by method where these differ."""
    ways: dict[str, list[str]] = {}
    for method, found in laws.items():
        ways.setdefault(kind_of(found["mixed"]), []).append(method)
    parts = []
    for way, methods in ways.items():
        why = reason(laws[methods[0]]["mixed"])
        whose = "" if len(ways) == 1 else f" ({', '.join(methods)})"
        parts.append(f"{way}{whose}" + (f": {why}" if why else ""))
    return "; ".join(parts)


def held(laws: dict[str, dict[str, str]], law: str) -> str:
    """`yes`, or whose does not hold."""
    odd: dict[str, list[str]] = {}
    for method, found in laws.items():
        if kind_of(found[law]) not in HOLDS:
            odd.setdefault(kind_of(found[law]), []).append(method)
    return "; ".join(f"{way} ({', '.join(methods)})" for way, methods in odd.items()) or "yes"


def page(results: list[dict[str, Any]]) -> str:
    """The whole page."""
    known = sorted((one for one in results if "methods" in one), key=lambda one: one["network"].casefold())
    tried = [(one, laws_of(one)) for one in known]
    counts = Counter(kind_of(found["mixed"]) for _, laws in tried for found in laws.values())
    faults = [
        f"- `{one['network']}`, {method}, {law}: {reason(found[law])}"
        for one, laws in tried
        for method, found in laws.items()
        for law in ("mixed", *LAWS)
        if kind_of(found[law]) == "fault"
    ]
    rows = [
        " | ".join([f"| `{one['network']}`", one["family"], mixed(laws), *(held(laws, law) for law in LAWS)]) + " |"
        for one, laws in tried
    ]
    return HEAD.format(
        networks=len(tried),
        pairs=sum(len(laws) for _, laws in tried),
        counts="\n".join(f"| {way} | {number} |" for way, number in counts.most_common()),
        faults="No law is broken." if not faults else f"{len(faults)} laws are broken:\n\n" + "\n".join(faults),
        rows="\n".join(rows),
        **{name: version(name).partition("+")[0] for name in ("timm", "torchvision", "transformers")},
    )


def write(results: Path, to: Path) -> None:
    """The page from a folder of results."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(results.glob("*.json"))]
    to.write_text(page(found), encoding="utf-8")


def main() -> None:
    words = argparse.ArgumentParser(prog="python -m tests.zoo.page", description=__doc__)
    words.add_argument("--results", type=Path, default=Path(".zoo"), help="folder of results (default: .zoo)")
    words.add_argument("--page", type=Path, default=PAGE)
    given = words.parse_args()
    write(given.results, given.page)


if __name__ == "__main__":
    main()
