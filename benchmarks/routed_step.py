"""One training step of every routed method, beside LoRA of the same rank and PEFT's Poly.

    python benchmarks/routed_step.py --json routed_step.json        all networks, batches and ranks
    python benchmarks/routed_step.py --quick                        one small network, in a minute

A step is forward, loss, backward and AdamW, on one thread. Methods take turns; a time is divided by LoRA's in the same
turn, and the table shows the median of these ratios with their quartiles. Peak memory is that of a process by itself
(`--no-memory` leaves it out). Needs the `bench` extra.
"""

from __future__ import annotations

import argparse
import json

import torch
from _contestants import Contestant, contestants, step
from _networks import SIZES, Load
from _report import Document, peak_elsewhere, peak_of
from _report import options as asked
from _timing import ratios, rounds

REFERENCE = "LoRA shared"
LOADS = [Load(16, 64, "grouped"), Load(16, 64, "shuffled"), Load(16, 64, "one task"), Load(8, 128, "grouped")]
QUICK = [Load(16, 64, "grouped")]


def main() -> None:
    options = _options()
    torch.set_num_threads(1)
    if options.memory_of:
        print(_peak(*options.memory_of))
        return
    document = Document(options.json, "transformers", "peft")
    for size, rank, load in _plan(options):
        lineup = [one for one in contestants(rank) if _wanted(one, options.only)]
        taken = rounds({one.name: step(one, SIZES[size], load) for one in lineup}, options.rounds, options.seconds)
        table = ratios(taken, REFERENCE)
        if options.memory:
            for name in table:
                table[name]["peak_mb"] = _peak_of(size, rank, load, name)
        title = f"{size}, r={rank}, {load}, {len(taken[REFERENCE])} rounds"
        document.add(title, table, network=size, rank=rank, batch=str(load), raw_seconds=taken)


def _options() -> argparse.Namespace:
    parser = asked(__doc__, quick="one small network and one batch", rounds=40, seconds=150.0)
    parser.add_argument("--networks", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--ranks", nargs="+", type=int, default=[16, 4])
    parser.add_argument("--batches", nargs="+", help="only these, such as '16x64 grouped'")
    parser.add_argument("--only", nargs="+", help="only these methods, beside the reference")
    return parser.parse_args()


def _plan(options: argparse.Namespace) -> list[tuple[str, int, Load]]:
    if options.quick:
        return [("t5-d256", 16, load) for load in QUICK]
    chosen = [load for load in LOADS if not options.batches or str(load) in options.batches]
    return [(size, rank, load) for size in options.networks for rank in options.ranks for load in chosen]


def _wanted(contestant: Contestant, only: list[str] | None) -> bool:
    return only is None or contestant.name in (REFERENCE, *only)


def _peak_of(size: str, rank: int, load: Load, name: str) -> float:
    """Peak memory of a method's step, in a process of its own."""
    return peak_elsewhere(__file__, size, rank, json.dumps([load.rows, load.tokens, load.tasks]), name)


def _peak(size: str, rank: str, load: str, name: str) -> float:
    found = next(one for one in contestants(int(rank)) if one.name == name)
    return peak_of(step(found, SIZES[size], Load(*json.loads(load))))


if __name__ == "__main__":
    main()
