"""Each form of an FTN update on single layers, and which of them the cost model picks.

    python benchmarks/forms.py                  training step of the layer
    python benchmarks/forms.py --inference

Times are ratios to the layer as it is (its input's gradient included, when training), medians of rounds in which the
forms take turns. The last line says what the model's choices cost, and what the best would have, over all layers.
"""

from __future__ import annotations

import argparse

import torch
from _timing import Step, ratios, rounds
from torch import nn

import taskfold as tfold

FORMS = ("factored", "merged", "materialised", "auto")
LAYERS = [
    (channels, channels, kernel, size)
    for kernel in (3, 1)
    for channels, size in ((64, 56), (128, 28), (256, 14), (512, 7))
] + [(256, 64, 1, 56), (64, 256, 1, 56), (1024, 256, 1, 14), (256, 1024, 1, 14), (2048, 512, 1, 7)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inference", action="store_true")
    parser.add_argument("--ranks", type=int, nargs="+", default=[8, 50])
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    chosen = best = 0.0
    print(f"{'layer':24}{'rows':>5}{'R':>4}" + "".join(f"{form:>14}" for form in FORMS))
    for rank in options.ranks:
        for rows in options.rows:
            for inp, out, kernel, size in LAYERS:
                steps = forms(inp, out, kernel, size, rows, rank, trains=not options.inference)
                made = ratios(rounds(steps, options.rounds, 5.0), "plain")
                name = f"{inp}→{out} {kernel}×{kernel}, {size}²"
                print(
                    f"{name:24}{rows:>5}{rank:>4}" + "".join(f"{made[form]['ratio']:>14.2f}" for form in FORMS),
                    flush=True,
                )
                chosen += made["auto"]["seconds"]
                best += min(made[form]["seconds"] for form in FORMS[:3])
    print(f"\nauto: {chosen * 1e3:.0f} ms in all; the best form of each: {best * 1e3:.0f} ms")


def forms(inp: int, out: int, kernel: int, size: int, rows: int, rank: int, trains: bool) -> dict[str, Step]:
    torch.manual_seed(0)
    layer = nn.Conv2d(inp, out, kernel, padding=kernel // 2, bias=False)
    model = tfold.MultiTask(nn.Sequential(layer), tfold.FTN(rank=rank, stem=True, norm=False, init="normal"))
    model.add_task("task")
    x = torch.randn(rows, inp, size, size, requires_grad=trains)
    toward = torch.randn(rows, out, size, size)

    def step(form: str) -> Step:
        def run() -> None:
            if form != "plain":
                model.execution = form  # type: ignore[assignment]
            with torch.set_grad_enabled(trains):
                y = layer(x) if form == "plain" else model(x, task="task")
            if trains:
                y.backward(toward)
                x.grad = None
                model.zero_grad()

        return run

    return {form: step(form) for form in ("plain", *FORMS)}


if __name__ == "__main__":
    main()
