"""The papers' claims, decided by what the experiments have measured: differences in pairs, intervals and p-values.

    python experiments/claims.py        # reads results/*.json, prints the table, writes results/claims.json

A pair is what two methods reached on one task with one seed. With ten seeds or more the unit is a seed, the mean of its
tasks; with fewer it is a pair, and pairs of one seed are not independent: such intervals are too narrow rather than too
wide. The interval is Student's, of 95 %, the p-value two-sided. A claim holds where the whole interval is above what it
states, fails where the whole interval is below, and is not decided otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.table import Table
from scipy import stats

from taskfold.tasks import write_atomically

RESULTS = Path(__file__).parent / "results"
ENOUGH = 10
"""Seeds from which on a seed is the unit."""
Scores = Mapping[tuple[int, str], float]
"""By seed and task, higher is better."""


@cache
def document(name: str) -> dict[str, Any]:
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def images(label: str) -> Scores:
    """Test accuracy of four_tasks.py, %."""
    runs = [run for run in document("four_tasks").get("runs", ()) if run["label"] == label]
    return {(run["seed"], run["task"]): 100 * run["metrics"]["test_accuracy"] for run in runs}


def languages(label: str, way: str, shots: int) -> Scores:
    """Exact match of routing.py on new languages, %."""
    found: dict[tuple[int, str], float] = {}
    for record in document("routing").get("records", ()):
        for one in record["transfers"] if record["label"] == label and "study" not in record else ():
            if (one["way"], one["shots"]) == (way, shots):
                found |= {(record["seed"], name): 100 * at["exact_match"] for name, at in one["languages"].items()}
    return found


def rooms(label: str) -> Scores:
    """Gain over single-task networks of dense.py, %."""
    rows = [row for gains in document("dense-full").get("gains", ()) for row in gains["rows"] if row["label"] == label]
    runs = [run for row in rows for run in row["runs"] if "gains" in run]
    return {(run["seed"], name): gain for run in runs for name, gain in run["gains"].items()}


def small(experiment: str, label: str) -> Scores:
    """Test accuracy of small_claims.py, %, at the rate that its own seeds have chosen."""
    found = document("small_claims")
    lr = found.get("rates", {}).get(f"{experiment} · {label}")
    records = [
        record
        for record in found.get("records", ())
        if (record["experiment"], record["method"], record["lr"]) == (experiment, label, lr) and record["seed"] < 100
    ]
    return {
        (record["seed"], name): 100 * right for record in records for name, right in record.get("accuracy", {}).items()
    }


@dataclass(frozen=True)
class Claim:
    """That `ours` is above `other`, or less than `within` below it."""

    statement: str
    measured: str
    ours: Callable[[], Scores]
    other: Callable[[], Scores]
    within: float = 0.0


def _few(ours: str, other: str, statement: str) -> list[Claim]:
    """The same claim on new languages, from few and from more words, and on groups of digits."""
    way = {"LoRA shared": "continue"}
    return [
        *(
            Claim(
                statement,
                f"new languages, {shots} words",
                *(partial(languages, label, way.get(label, "all"), shots) for label in (ours, other)),
            )
            for shots in (32, 128)
        ),
        Claim(
            statement,
            "groups of digits, 64 images",
            *(partial(small, "transfer", label.removesuffix(" shared")) for label in (ours, other)),
        ),
    ]


def _trunks(ours: str, other: str, statement: str) -> list[Claim]:
    """The same claim on rooms and on small images; labels as in dense.py."""
    names = {"over-parameterised": "over-parameterised, iterative"}
    return [
        Claim(statement, "rooms, three dense tasks", partial(rooms, ours), partial(rooms, other)),
        Claim(
            statement,
            "digits and animals, one trunk",
            *(partial(small, "trunk", names.get(label, label)) for label in (ours, other)),
        ),
    ]


FOUR = "four image tasks"
CLAIMS = [
    Claim(
        "FTN R=4 (5 %) is within 1 point of fine-tuning",
        FOUR,
        partial(images, "FTN R=4"),
        partial(images, "fine-tuning"),
        1,
    ),
    Claim("rank helps: FTN R=4 above R=1", FOUR, partial(images, "FTN R=4"), partial(images, "FTN R=1")),
    Claim("rank helps: FTN R=16 above R=4", FOUR, partial(images, "FTN R=16"), partial(images, "FTN R=4")),
    *_few("TensorPoly-I", "Poly", "TensorPoly-I is above Poly in transfer"),
    *_few("Poly", "LoRA shared", "Poly is above LoRA in transfer"),
    *_few("TensorPoly-I", "TensorPoly-II", "TensorPoly-II is below TensorPoly-I"),
    *_trunks("over-parameterised", "multi-task", "over-parameterised is above plain multi-task"),
    *_trunks("over-parameterised", "over-parameterised, joint", "iterative training is above joint"),
]


def paired(differences: Sequence[float], wanted: float = 0.0) -> dict[str, float]:
    """The mean of differences in pairs, its interval of 95 %, and the p-value of its being `wanted`; two at least."""
    test: Any = stats.ttest_1samp(differences, wanted)
    low, high = test.confidence_interval()
    return {"difference": fmean(differences), "low": low, "high": high, "p": float(test.pvalue)}


def decided(claim: Claim) -> dict[str, Any]:
    """The mean difference in points, its interval, p-value, and what that says."""
    ours, other = claim.ours(), claim.other()
    differences = {key: ours[key] - other[key] for key in sorted(ours.keys() & other.keys())}
    seeds = {seed for seed, _ in differences}
    units = [*differences.values()]
    if len(seeds) >= ENOUGH:
        units = [fmean(d for (one, _), d in differences.items() if one == seed) for seed in sorted(seeds)]
    row: dict[str, Any] = {"claim": claim.statement, "measured": claim.measured, "seeds": len(seeds)}
    row |= {"units": len(units), "unit": "seed" if len(seeds) >= ENOUGH else "seed and task"}
    if len(units) < 2:
        return row | {"verdict": "not measured"}
    found = paired(units, -claim.within)
    verdict = "holds" if found["low"] > -claim.within else "fails" if found["high"] < -claim.within else "not decided"
    return row | found | {"verdict": verdict}


def main() -> None:
    rows = [decided(claim) for claim in CLAIMS]
    write_atomically(
        RESULTS / "claims.json",
        json.dumps({"command": "python experiments/claims.py", "claims": rows}, indent=1).encode(),
    )
    table = Table("claim", "measured on", "pairs", "difference, points", "p", "verdict")
    for row in rows:
        measured = "difference" in row
        table.add_row(
            row["claim"],
            row["measured"],
            f"{row['units']} × {row['unit']}",
            f"{row['difference']:+.1f} ({row['low']:+.1f} to {row['high']:+.1f})" if measured else "",
            f"{row['p']:.2g}" if measured else "",
            row["verdict"],
        )
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
