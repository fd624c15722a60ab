"""A training step and a mixed batch of each intervention: one method or two for each, beside the limit.

    python benchmarks/interventions.py --json interventions.json        ResNet-18 and ViT-Ti of 224²
    python benchmarks/interventions.py --quick                          three rounds; images of 64² on ResNet-18

On one thread; methods take turns, and a time is divided by the reference's in the same turn: for a training step
(forward, loss, backward) normalisation and head alone, for a mixed batch (eight rows of four tasks) the plain network.
PEFT's own (IA)³, prompts and prefixes are beside ours in `routed_step.py`, its LoRA here and in `vision.py`.
"""

from __future__ import annotations

import torch
from _peers import CLASSES, HERE, Plain, backbone, is_transformer, peft_lora
from _report import Document
from _report import options as asked
from _timing import Step, ratios, rounds
from _vision import LIMIT, PLAIN, served, stepped

import taskfold as tfold

CHANGE = (tfold.Piggyback(), tfold.TAPS())
METHODS: dict[str, tuple[tfold.Method, ...]] = {
    "resnet18": (
        tfold.FTN(rank=8),  # beside
        *CHANGE,
        tfold.BA2(),
        tfold.ParallelAdapter(),
        tfold.SeriesAdapter(),
        tfold.RCM(),
        tfold.SSF(),  # scale
        tfold.FishMask(),
        tfold.AdaShare(trunk="frozen"),  # choose
        tfold.SpotTune(),
    ),
    "vit_tiny_patch16_224": (
        tfold.LoRA(rank=8),  # beside
        *CHANGE,
        tfold.SVFT(),
        tfold.IA3(),  # scale
        tfold.SSF(),
        tfold.BottleneckAdapter(width=16),  # adapter
        tfold.Compacter(width=16),
        tfold.AdaptFormer(width=16),
        tfold.PromptTuning(),  # before
        tfold.PrefixTuning(),
    ),
}
ROWS, TASKS = 8, 4


def main() -> None:
    options = asked(__doc__, quick="three rounds; images of 64² on ResNet-18", rounds=15, seconds=60.0).parse_args()
    torch.set_num_threads(1)
    document = Document(options.json, "timm", "peft")
    for network, methods in METHODS.items():
        size = 64 if options.quick and not is_transformer(network) else 224
        for title, reference, steps in (
            ("training step", LIMIT, _training(network, methods, size)),
            (f"{ROWS} rows of {TASKS} tasks", PLAIN, _mixed(network, methods, size)),
        ):
            taken = rounds(steps, 3 if options.quick else options.rounds, options.seconds)
            full = f"{title}, {network}, {size}², {len(taken[reference])} rounds"
            document.add(full, ratios(taken, reference), reference=reference, raw_seconds=taken)


def _model(network: str, method: tfold.Method) -> tfold.MultiTask:
    torch.manual_seed(0)
    model = tfold.MultiTask(backbone(network), method)
    for n in range(TASKS):
        model.add_task(f"task{n}", head=CLASSES)
    return model


def _training(network: str, methods: tuple[tfold.Method, ...], size: int) -> dict[str, Step]:
    steps = {LIMIT: stepped(Plain(network), ROWS, size)}
    steps |= {one.name: stepped(_model(network, one).for_task("task0"), ROWS, size) for one in methods}
    if "peft" in HERE:
        steps["PEFT LoRA"] = stepped(peft_lora(network), ROWS, size)
    return steps


def _mixed(network: str, methods: tuple[tfold.Method, ...], size: int) -> dict[str, Step]:
    x, tasks = torch.randn(ROWS, 3, size, size), [f"task{n % TASKS}" for n in range(ROWS)]
    steps = {PLAIN: served(Plain(network).eval(), x)}
    for one in methods:
        model = _model(network, one).eval()
        steps[one.name] = served(lambda x, model=model: model(x, task=tasks), x)
    return steps


if __name__ == "__main__":
    main()
