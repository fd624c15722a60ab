"""Training, inference and mixed batches on vision networks, beside their limits and peers.

    python benchmarks/vision.py --json vision.json         ResNet-18 and -50, ViT-Ti; about eight minutes
    python benchmarks/vision.py --quick                    ResNet-18 alone, three rounds
    python benchmarks/vision.py --network vit_tiny_patch16_224      training and inference of one network
    python benchmarks/vision.py --full                     more networks, 10,000 tasks in a bank; half an hour
    python benchmarks/vision.py --statistics               training steps with own and with kept statistics alone
    python benchmarks/vision.py --quick --device cuda      the same on a card, 32 rows in place of 4

On one thread. Contestants take turns; a time is divided by the reference's in the same turn, and tables show medians of
these ratios with their quartiles. Training is forward, loss and backward, with normalisation and head trained in all;
its peak memory is that of a process by itself, or what a step adds on the card. Needs the `bench` extra: PEFT, LyCORIS,
adapters; a peer that is not installed is left out, and the output says so.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping

import _mixed as mixed
import torch
from _handling import adding, growing, imports, switching
from _peers import HERE
from _report import Document, peak_elsewhere, peak_of
from _report import options as asked
from _timing import Step, ratios, rounds
from _vision import KEPT, LIMIT, PLAIN, by_statistics, inference, stepped, trained, training

PEERS = ("timm", "transformers", "peft", "lycoris-lora", "adapters")
QUICK = (("resnet18", 4),)
NETWORKS = (*QUICK, ("resnet50", 4))
FULL = (*NETWORKS, ("efficientnet_lite0", 4), ("vit_tiny_patch16_224", 4), ("vit_base_patch16_224", 2))
MIXED = (("resnet18", 64), ("resnet18", 224), ("vit_tiny_patch16_224", 224))


def main() -> None:
    options = _options()
    torch.set_num_threads(1)
    if options.memory_of:
        network, rows, size, name = options.memory_of
        print(peak_of(training(network, int(rows), int(size), name)))
        return
    document = Document(options.json, *PEERS)
    document.content |= {"device": options.device, "left_out": sorted({"peft", "lycoris", "adapters"} - HERE)}
    if document.content["left_out"]:
        print(f"not installed, left out of every table: {', '.join(document.content['left_out'])}")
    card = torch.device(options.device).type == "cuda"

    def table(title: str, reference: str, taken: Mapping[str, list[float]], peaks: Mapping[str, float] = {}) -> None:
        made = ratios(taken, reference)
        for name, peak in peaks.items():
            made[name]["peak_mb"] = peak
        full = f"{title}, {len(taken[reference])} rounds"
        document.add(full, made, title=title, reference=reference, raw_seconds=taken)

    def timed(steps: Mapping[str, Step]) -> dict[str, list[float]]:
        return rounds(steps, options.rounds, options.seconds)

    networks = FULL[:3] if options.statistics else FULL if options.full else QUICK if options.quick else NETWORKS
    if options.network:
        networks = [(name, rows) for name, rows in FULL if name == options.network]
    networks = [(network, 8 * rows if card else rows) for network, rows in networks]
    if options.statistics:
        for network, rows in networks:
            with torch.device(options.device):
                steps = {name: stepped(made(), rows, 224) for name, made in by_statistics(network).items()}
            taken = timed(steps)
            for limit, kind in ((LIMIT, "own"), (KEPT, "backbone")):
                of_kind = {name: times for name, times in taken.items() if name == limit or name.endswith(kind)}
                table(f"training step, statistics {kind}, {network}, {rows} × 224²", limit, of_kind)
            ours = {name: times for name, times in taken.items() if name not in (LIMIT, KEPT)}
            table(f"FTN's training step, {network}, {rows} × 224²", next(n for n in ours if n.endswith("own")), ours)
        return
    peaks: dict[str, dict[str, float]] = {}
    for network, rows in networks if options.memory and not card else ():  # all before the clock starts
        peaks[network] = {name: peak_elsewhere(__file__, network, rows, 224, name) for name in trained(network)}
        print(f"{network}: peak memory taken", flush=True)
    for network, rows in networks:
        with torch.device(options.device):
            steps = {name: training(network, rows, 224, name) for name in trained(network)}
            served = inference(network, rows, 224)
        taken = timed(steps)
        if card and options.memory:
            peaks[network] = {name: peak_of(step) for name, step in steps.items()}
        table(f"training step, {network}, {rows} × 224²", LIMIT, taken, peaks.get(network, {}))
        table(f"inference, {network}, {rows} × 224²", PLAIN, timed(served))
    if options.network:
        return
    for network, size in MIXED[:1] if options.quick else MIXED:
        with torch.device(options.device):
            steps = mixed.timm(network, 32, size)
        table(f"32 rows of 32 tasks, {network}, {size}²", PLAIN, timed(steps))
    if not options.quick and not card:
        title = "32 rows of 32 tasks, ViT-Ti of Hugging Face, 224²"
        table(title, PLAIN, timed(mixed.hugging_face(32, 224)))
    if options.full and not card:
        table("16 rows of 16 tasks, small T5, 64 tokens", PLAIN, timed(mixed.text(16, 64)))
    _handling(table, options)
    document.content["growing"] = found = growing(
        300 if options.quick else 10_000 if options.full else 1000, options.device
    )
    document.write()
    print(f"\nResNet-18, {found['tasks']} tasks of FTN R=8 in a bank (means of 50 additions)")
    for name, value in found.items():
        print(f"{name:30}{value:>9.3f}")


def _options() -> argparse.Namespace:
    parser = asked(__doc__, quick="ResNet-18 alone, three rounds", rounds=30, seconds=20.0)
    parser.add_argument("--statistics", action="store_true", help="own and kept statistics of three networks alone")
    parser.add_argument("--full", action="store_true", help="more networks, 10,000 tasks in a bank")
    parser.add_argument(
        "--network", choices=[name for name, _ in FULL], help="training and inference of this one alone"
    )
    parser.add_argument(
        "--device", default="cpu", help="cpu or cuda; texts and adapters' mixed batches run on cpu alone"
    )
    options = parser.parse_args()
    if torch.device(options.device).type == "cuda" and not torch.cuda.is_available():
        parser.error(f"--device {options.device}: torch {torch.__version__} finds no CUDA here")
    if options.quick:
        options.rounds = min(options.rounds, 3)
    return options


def _handling(table: Callable[..., None], options: argparse.Namespace) -> None:
    """What is done to tasks, not with them."""
    alone, whole = switching(min(options.rounds, 5), options.device)
    table("switching among 64 tasks, resnet18", "bank.index", alone)
    table("switching and a row of 64², resnet18", "MultiTask", whole)
    for before in (1, 63):
        table(
            f"adding a task to {before}, resnet18", "MultiTask", adding(before, min(options.rounds, 10), options.device)
        )
    table("a fresh process", "import torch", rounds(imports(), min(options.rounds, 7), 600.0))


if __name__ == "__main__":
    main()
