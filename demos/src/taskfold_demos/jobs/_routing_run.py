"""Runs the demonstration of shared inventories from words to report."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console

from taskfold import backbones
from taskfold.report import summary_table, write_report
from taskfold.tasks import write_atomically

from ._records import Document, Record
from ._routing_data import words_of
from ._routing_plan import RoutingPlan
from ._routing_results import routing_document
from ._routing_stages import Bench

LEMMAS = "packaged:lemma-t5"


def run_routing_demo(
    plan: RoutingPlan, out: Path, *, command: str = "taskfold demo routing", console: Console | None = None
) -> Document:
    """Train every method on many languages, learn new ones, and write `results.json`, `report.html` and task files.

    Args:
        plan: what to compare.
        out: folder, made if need be; files of an earlier demonstration are replaced.
        command: shown in the report.
        console: where to say what happens; None: standard output.

    Returns:
        The results document (see `taskfold.report.schema`).
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the network is small; a training may find more threads faster and use them
    try:
        return _run(plan, out, command, console or Console())
    finally:
        torch.set_num_threads(threads)


def _run(plan: RoutingPlan, out: Path, command: str, console: Console) -> Document:
    started = time.perf_counter()

    def say(text: str) -> None:
        console.print(text, highlight=False)

    tasks = out / "tasks"
    tasks.mkdir(parents=True, exist_ok=True)
    say(f"Reading the words of {len(plan.training)} languages to train on and {len(plan.held_out)} to learn later …")
    loaded = backbones.load(LEMMAS)
    bench = Bench(plan, loaded, words_of(plan), quiet=None, say=say)
    baselines, records = bench.baselines(), list[Record]()
    kept = [contender.label for contender in plan.contenders if "z" in contender.ways][-1]
    results: Document = {}
    for seed in plan.seeds:
        for contender in plan.contenders:
            first = seed == plan.seeds[0]
            keep = tasks if first and contender.label == kept else None
            records.append(bench.run(contender, seed, routing=first, keep=keep))
            seconds = time.perf_counter() - started
            results = routing_document(plan, records, baselines, (), (), loaded, command=command, seconds=seconds)
            # After every method: a demonstration that is stopped leaves what it found.
            write_atomically(out / "results.json", json.dumps(results, indent=1, ensure_ascii=False).encode())
    report = write_report(results, out / "report.html")
    console.print()
    console.print(summary_table(results))
    _end(say, results, tasks, kept, report)
    return results


def _end(say: Callable[[str], None], results: Document, tasks: Path, kept: str, report: Path) -> None:
    same = [one["identical"] for one in results["isolation"]]
    sizes = {path.stem: path.stat().st_size for path in sorted(tasks.glob("*.safetensors"))}
    inventory = sizes.pop("inventory", 0)
    said = "say bit for bit what they said before the new ones"
    say(f"No forgetting: {sum(same)} of {len(same)} training languages {said}.")
    if sizes:
        say(
            f"{kept}: the inventory is {inventory / 1e6:.1f} MB; each of {len(sizes)} languages learned by routing "
            f"alone adds {max(sizes.values()) / 1e3:.0f} kB."
        )
    say(f"Report: {report}   Task files: {tasks}   {results['seconds']:.0f} s in all")
