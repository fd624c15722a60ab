"""Old and new in turns: this working tree's numbers beside another commit's, each by its own benchmark.

    python benchmarks/against.py 96e835a~1                       ResNet-18 alone, five pairs of runs
    python benchmarks/against.py main --pairs 3 -- --full        options after `--` go to vision.py

Each pair is a run of the old commit and a run of the working tree, one right after the other, in processes of their
own, and the order turns from pair to pair. A contestant's time is divided by the reference's in its run (frozen limit,
plain network); "new / old" divides these ratios within a pair. Medians and quartiles over pairs. Peers that are not
installed are left out.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
Ratios = dict[tuple[str, str], float]
"""By table and contestant."""


def main() -> None:
    options = _options()
    pairs: list[tuple[Ratios, Ratios]] = []
    with _checked_out(options.commit) as old:
        for n in range(options.pairs):
            order = (old, ROOT) if n % 2 == 0 else (ROOT, old)
            made = {place: _run(place, options.script, options.rest) for place in order}
            pairs.append((made[old], made[ROOT]))
            print(f"pair {n + 1} of {options.pairs} done", flush=True)
    rows = _compared(pairs)
    _show(rows, options.commit)
    if options.json:
        command = " ".join(["python", *sys.argv])
        content = {"command": command, "old": options.commit, "pairs": len(pairs), "rows": rows}
        options.json.write_text(json.dumps(content, indent=1) + "\n")


def _run(place: Path, script: str, rest: list[str]) -> Ratios:
    """A benchmark of a checkout, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "found.json"
        command = [sys.executable, str(place / "benchmarks" / script), "--no-memory", "--json", str(written), *rest]
        settings = os.environ | {"PYTHONPATH": str(place / "src")}
        done = subprocess.run(command, env=settings, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"against: {' '.join(command)} failed:\n{done.stderr}")
        tables = json.loads(written.read_text())["tables"]
    return {
        (table["title"], name): row["ratio"]
        for table in tables
        for name, row in table["methods"].items()
        if name != table["reference"]
    }


def _compared(pairs: list[tuple[Ratios, Ratios]]) -> list[dict[str, object]]:
    """Median ratios of both, and quartiles of new / old, for contestants that both know."""
    both = [key for key in pairs[0][1] if all(key in one for pair in pairs for one in pair)]
    rows: list[dict[str, object]] = []
    for title, name in both:
        olds, news = ([pair[n][title, name] for pair in pairs] for n in (0, 1))
        found = [new / old for old, new in zip(olds, news, strict=True)]
        low, middle, high = statistics.quantiles(found, n=4, method="inclusive") if len(found) > 1 else found * 3
        rows.append(
            {
                "table": title,
                "contestant": name,
                "old": statistics.median(olds),
                "new": statistics.median(news),
                "new_by_old": middle,
                "low": low,
                "high": high,
            }
        )
    return rows


def _show(rows: list[dict[str, object]], commit: str) -> None:
    title = None
    for row in rows:
        if row["table"] != title:
            title = row["table"]
            print(f"\n{title}\n{'':34}{commit:>12}{'new':>8}{'new / old':>12}   quartiles")
        print(
            f"{row['contestant']:34}{row['old']:>12.2f}{row['new']:>8.2f}{row['new_by_old']:>12.2f}"
            f"   {row['low']:.2f} – {row['high']:.2f}"
        )


@contextmanager
def _checked_out(commit: str) -> Iterator[Path]:
    """A commit's files in a folder for a while."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "old"
        subprocess.run(["git", "-C", str(ROOT), "worktree", "add", "-q", "--detach", str(place), commit], check=True)
        try:
            yield place
        finally:
            subprocess.run(["git", "-C", str(ROOT), "worktree", "remove", "--force", str(place)], check=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit", help="the old one")
    parser.add_argument("--pairs", type=int, default=5, help="of runs (default: 5)")
    parser.add_argument("--script", default="vision.py", help="of benchmarks/ (default: vision.py)")
    parser.add_argument("--json", type=Path, help="write the rows here")
    parser.add_argument("rest", nargs="*", help="options of the script, after `--` (default: --quick)")
    options = parser.parse_args()
    options.rest = options.rest or ["--quick"]
    return options


if __name__ == "__main__":
    main()
