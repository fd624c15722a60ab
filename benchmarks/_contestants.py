"""What is timed: one row per method. Each makes a training step on a network: forward, loss, backward, AdamW."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from _naive import ROWS, per_row
from _networks import TASKS, Load, Size, network
from peft import (
    IA3Config,
    LoraConfig,
    PeftConfig,
    PolyConfig,
    PrefixTuningConfig,
    PromptTuningConfig,
    get_peft_model,
)
from torch import Tensor, nn

import taskfold as tfold

Step = Callable[[], None]
Forward = Callable[[], Tensor]
LINEARS = ["q", "k", "v", "o", "wi", "wo"]
R, SKILLS = 8, 8


@dataclass(frozen=True)
class Contestant:
    name: str
    build: Callable[[Size, Load], tuple[Forward, list[nn.Parameter]]] = field(repr=False)


def step(contestant: Contestant, size: Size, load: Load) -> Step:
    """A training step, ready to run."""
    forward, parameters = contestant.build(size, load)
    # The fused form, for all alike: what a step costs should not hang on how many parameters a method has.
    optimiser = torch.optim.AdamW(parameters, lr=1e-4, fused=True) if parameters else None

    def run() -> None:
        forward().backward()
        if optimiser is not None:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)

    return run


def _frozen(size: Size, load: Load) -> tuple[Forward, list[nn.Parameter]]:
    """The limit: nothing is adapted, and the gradient runs through to the embeddings."""
    net, inputs = network(size).train(), load.inputs()
    embedded = net.shared(inputs.pop("input_ids")).requires_grad_()
    return lambda: net(inputs_embeds=embedded, **inputs).loss, []


def _ours(method: tfold.Method) -> Callable[[Size, Load], tuple[Forward, list[nn.Parameter]]]:
    def build(size: Size, load: Load) -> tuple[Forward, list[nn.Parameter]]:
        model = tfold.MultiTask(network(size), method)
        for n in range(TASKS):
            model.add_task(f"task{n}")
        model.train()
        inputs, tasks = load.inputs(), [f"task{n}" for n in load.task_of_row()]
        used = [p for name in dict.fromkeys(tasks) for p in model[name].parameters()]
        return lambda: model(**inputs, task=tasks).loss, [*model.inventory.parameters(), *used]

    return build


def _peft(config: PeftConfig) -> Callable[[Size, Load], tuple[Forward, list[nn.Parameter]]]:
    def build(size: Size, load: Load) -> tuple[Forward, list[nn.Parameter]]:
        model, inputs = get_peft_model(network(size), config).train(), load.inputs()
        if isinstance(config, PolyConfig):
            inputs["task_ids"] = torch.tensor(load.task_of_row())
        return lambda: model(**inputs).loss, [p for p in model.parameters() if p.requires_grad]

    return build


def _naive(rank: int, finer: bool) -> Callable[[Size, Load], tuple[Forward, list[nn.Parameter]]]:
    def build(size: Size, load: Load) -> tuple[Forward, list[nn.Parameter]]:
        net, inputs, rows = per_row(network(size).train(), TASKS, rank, R, finer), load.inputs(), load.task_of_row()
        index = torch.tensor(rows)

        def forward() -> Tensor:
            ROWS[:] = [index]
            return net(**inputs).loss

        return forward, [p for p in net.parameters() if p.requires_grad]

    return build


def contestants(rank: int) -> list[Contestant]:
    """All of them, at rank r; the first two are what others are measured against."""
    linear = {"rank": rank, "alpha": 1.0, "layers": "linear"}
    tensor = {"rank": rank, "tensor_rank": R, "order": 2, "layers": "linear"}
    common = {"r": rank, "target_modules": LINEARS, "task_type": "SEQ_2_SEQ_LM"}
    scales = IA3Config(target_modules=["k", "v", "wo"], feedforward_modules=["wo"], task_type="SEQ_2_SEQ_LM")
    rows = {"num_virtual_tokens": 10, "task_type": "SEQ_2_SEQ_LM"}
    poly, mhr = (PolyConfig(n_tasks=TASKS, n_skills=SKILLS, n_splits=splits, **common) for splits in (1, 4))
    return [
        Contestant("LoRA shared", _ours(tfold.LoRA(sharing="shared", **linear))),
        Contestant("frozen", _frozen),
        Contestant("LoRA private", _ours(tfold.LoRA(sharing="private", **linear))),
        Contestant("TLoRA shared", _ours(tfold.TLoRA(sharing="shared", **tensor))),
        Contestant("Poly", _ours(tfold.Poly(skills=SKILLS, **linear))),
        Contestant("Poly bernoulli", _ours(tfold.Poly(skills=SKILLS, allocation="bernoulli", **linear))),
        Contestant("MHR", _ours(tfold.MHR(skills=SKILLS, splits=4, **linear))),
        Contestant("TensorPoly-I", _ours(tfold.TensorPolyI(**tensor))),
        Contestant("TensorPoly-II", _ours(tfold.TensorPolyII(**tensor))),
        Contestant("IA3", _ours(tfold.IA3())),
        Contestant("Adapter", _ours(tfold.BottleneckAdapter(norm=False))),
        Contestant("Compacter", _ours(tfold.Compacter(norm=False))),
        Contestant("AdaptFormer", _ours(tfold.AdaptFormer())),
        Contestant("Prompt", _ours(tfold.PromptTuning(decoder=False))),
        Contestant("Prefix", _ours(tfold.PrefixTuning(tokens=10))),
        Contestant("PEFT LoRA", _peft(LoraConfig(lora_alpha=1, **common))),
        Contestant("PEFT IA3", _peft(scales)),
        Contestant("PEFT Prompt", _peft(PromptTuningConfig(num_transformer_submodules=1, **rows))),
        Contestant("PEFT Prefix, decoder alone", _peft(PrefixTuningConfig(**rows))),
        Contestant("PEFT Poly", _peft(poly)),
        Contestant("PEFT MHR", _peft(mhr)),
        Contestant("TensorPoly-I per row", _naive(rank, finer=False)),
        Contestant("TensorPoly-II per row", _naive(rank, finer=True)),
    ]
