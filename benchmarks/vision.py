"""Training, inference and mixed batches on vision networks, beside their limits and PEFT's LoRA.

    python benchmarks/vision.py --json vision.json         ResNet-18 and -50, ViT-Ti; two minutes a table
    python benchmarks/vision.py --quick                    ResNet-18 alone, in minutes

On one thread. Contestants take turns; a time is divided by the reference's in the same turn, and tables show medians of
these ratios with their quartiles. Training is forward, loss and backward, with BatchNorm and head trained in all; its
peak memory is that of a process by itself. Needs the `bench` extra.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import torch
from _report import Document, peak_elsewhere, peak_of
from _report import options as asked
from _timing import Step, ratios, rounds
from _vision import LIMIT, PLAIN, TRAINED, backbone, inference, mixed, training

import taskfold as tfold

QUICK = ("resnet18",)
NETWORKS = ("resnet18", "resnet50")
MIXED = (("resnet18", 64), ("resnet18", 224), ("vit_tiny_patch16_224", 224))


def main() -> None:
    options = asked(__doc__, quick="ResNet-18 alone", rounds=30, seconds=120.0).parse_args()
    torch.set_num_threads(1)
    if options.memory_of:
        network, rows, size, name = options.memory_of
        print(peak_of(training(network, int(rows), int(size), name)))
        return
    document = Document(options.json, "timm", "peft")

    def table(title: str, reference: str, steps: Mapping[str, Step], **more: Mapping[str, float]) -> None:
        taken = rounds(steps, options.rounds, options.seconds)
        made = ratios(taken, reference)
        for key, values in more.items():
            for name, value in values.items():
                made[name][key] = value
        full = f"{title}, {len(taken[reference])} rounds"
        document.add(full, made, title=title, reference=reference, raw_seconds=taken)

    for network in QUICK if options.quick else NETWORKS:
        steps = {name: training(network, 4, 224, name) for name in TRAINED}
        peaks = {name: peak_elsewhere(__file__, network, 4, 224, name) for name in TRAINED} if options.memory else {}
        table(f"training step, {network}, 4 × 224²", LIMIT, steps, peak_mb=peaks)
        table(f"inference, {network}, 4 × 224²", PLAIN, inference(network, 4, 224))
    for network, size in MIXED[:1] if options.quick else MIXED:
        table(f"32 rows of 32 tasks, {network}, {size}²", PLAIN, mixed(network, 32, size))
    document.content["growing"] = growing(300 if options.quick else 1000)
    document.write()


def growing(tasks: int) -> dict[str, float]:
    """Adding tasks to a model and to a bank, what a bank holds, and switching."""
    model = tfold.MultiTask(backbone("resnet18"), tfold.FTN(rank=8)).eval()
    bank = tfold.Bank(model.backbone)
    seconds: list[float] = []
    numbers = 0
    for n in range(tasks):
        start = time.perf_counter()
        task = model.add_task(f"task{n}", head=10)
        bank.add(task)
        seconds.append(time.perf_counter() - start)
        numbers += sum(t.numel() for t in [*task.parameters(), *task.buffers()] if t.is_floating_point())
        model.remove_task(f"task{n}")
    first, last = sum(seconds[1:51]) / 50, sum(seconds[-50:]) / 50
    start = time.perf_counter()
    for n in range(1000):
        bank.index([f"task{n % tasks}"])
    found = {
        "tasks": tasks,
        "adding_ms": first * 1e3,
        "adding_last_to_first": last / first,
        "bytes_to_sum_of_tasks": bank.nbytes() / (4 * numbers),
        "switching_us": (time.perf_counter() - start) * 1e3,
    }
    print(f"\nResNet-18, {tasks} tasks of FTN R=8 in a bank (means of 50 additions)")
    for name, value in found.items():
        print(f"{name:30}{value:>9.3f}")
    return found


if __name__ == "__main__":
    main()
