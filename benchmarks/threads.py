"""One epoch with the threads that are measured, beside each fixed number of them: alone, and beside busy processes.

    python benchmarks/threads.py                     # results/threads.json; run it again to go on
    python benchmarks/threads.py --epochs 3 --rounds 5

FTN R=16 on the 600 packaged digits of `taskfold demo`, at 64 pixels. Each epoch has its own process; the contestants
take turns, and the ratios are of medians. `busy` has two processes beside it that compute all the time at the lowest
priority. Other work on the machine counts in both cases: look at `load`, the number of processes that wanted to run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import torch

from taskfold import MultiTask, backbones
from taskfold.data import ImageTensors, Preprocessing
from taskfold.methods import FTN
from taskfold.threads import cores
from taskfold.train import Settings, train_task
from taskfold_demos.jobs import plan

HERE = Path(__file__).parent
BUSY = [sys.executable, "-c", "import os; os.nice(19)\nwhile True: pass"]


def epoch(choice: str, epochs: int, size: int) -> dict[str, Any]:
    """Train, and what that took."""
    loaded = backbones.load("packaged:efficientnet-lite0")
    data = plan().sources["mnist"].load("mnist")
    seen = Preprocessing.from_config(loaded.preprocessing or {}, size=size)
    torch.manual_seed(0)
    model = MultiTask(loaded.network, FTN(rank=16))
    model.add_task("mnist", head=len(data.labels))
    train, val = (ImageTensors(part, seen, train=False) for part in (data.train, data.val))
    settings = Settings(epochs=epochs, threads="auto" if choice == "auto" else int(choice))
    with tempfile.TemporaryDirectory() as folder:
        result = train_task(model, "mnist", train, val, settings, quiet=True, folder=folder)
        log = [json.loads(line) for line in Path(folder, "log.jsonl").read_text().splitlines()]
    said = [{k: line[k] for k in ("why", "step", "seconds")} for line in log if line["event"] == "threads"]
    return {"threads": result.threads, "seconds": result.seconds, "measured": said}


def once(choice: str, beside: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """An epoch in a process of its own."""
    with ExitStack() as stack:
        for _ in range(2 if beside == "busy" else 0):
            process = stack.enter_context(subprocess.Popen(BUSY))
            stack.callback(process.kill)
        command = [sys.executable, __file__, "--choice", choice, "--epochs", str(arguments.epochs)]
        environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
        said = subprocess.run(
            [*command, "--size", str(arguments.size)], env=environment, check=True, capture_output=True, text=True
        )
    return {"beside": beside, "choice": choice, "load": os.getloadavg()[0], **json.loads(said.stdout)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--size", type=int, default=64, help="pixels")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--counts", default="", help="fixed numbers, such as 1,2; default: 1, 2, 4, … and all cores")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "threads.json")
    parser.add_argument("--choice", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.choice:
        json.dump(epoch(arguments.choice, arguments.epochs, arguments.size), sys.stdout)
        return
    doubling = [2**n for n in range(cores().bit_length()) if 2**n < cores()]
    choices = [*(arguments.counts.split(",") if arguments.counts else map(str, [*doubling, cores()])), "auto"]
    setting = {"epochs": arguments.epochs, "size": arguments.size, "cores": cores(), "torch": torch.__version__}
    known = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    runs: list[dict[str, Any]] = known.get("runs", []) if known.get("setting") == setting else []
    for number in range(arguments.rounds):
        for beside in "alone", "busy":
            for choice in choices:
                if sum(run["beside"] == beside and run["choice"] == choice for run in runs) <= number:
                    runs.append(once(choice, beside, arguments))
                    arguments.out.parent.mkdir(parents=True, exist_ok=True)
                    arguments.out.write_text(json.dumps({"setting": setting, "runs": runs}, indent=1) + "\n")
                    print(json.dumps({k: v for k, v in runs[-1].items() if k != "measured"}), flush=True)
    for beside in "alone", "busy":
        typical = {
            choice: median(run["seconds"] for run in runs if (run["beside"], run["choice"]) == (beside, choice))
            for choice in choices
        }
        best = min(seconds for choice, seconds in typical.items() if choice != "auto")
        each = ", ".join(f"{choice}: {seconds:.1f} s" for choice, seconds in typical.items())
        print(f"{beside}: {each}; measured / best fixed: {typical['auto'] / best:.2f}")


if __name__ == "__main__":
    main()
