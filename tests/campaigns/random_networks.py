"""A mixed batch says what its tasks say one by one, or is refused by name: on random networks.

`python -m tests.campaigns.random_networks --networks 500 --seed 0` draws so many networks out of `network_pieces`, each with
tasks of a method and a few batches; `--only 17` draws one of them, and prints it.
"""

from __future__ import annotations

import argparse
import copy
import linecache
import random
import re
import signal
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

import taskfold as tfold
from taskfold.testing._compare import distance
from taskfold.testing._subject import leaves_of

from .network_pieces import MODULES, OF_PICTURES, PIECES, Output, TO_ROWS, TO_TOKENS, UNFOLDED

SECONDS = 120
METHODS: dict[str, Callable[[], tfold.Method]] = {
    "LoRA": lambda: tfold.LoRA(rank=2, layers="all", init="normal"),
    "LoRA on linear layers": lambda: tfold.LoRA(rank=2, layers="linear", init="normal"),
    "FTN": lambda: tfold.FTN(rank=2, init="normal", stem=True),
    "fine-tuning": tfold.FineTuning,
    "BitFit": tfold.BitFit,
    "SSF": tfold.SSF,
    "DoRA": lambda: tfold.DoRA(rank=2),
    "own norm": tfold.HeadNorm,
}
SLOWER = re.compile(r"answers mixed batches task by task, which is slower: (.*)", re.DOTALL)
STATEFUL = ("steps +=", "self.last =", "self.state =", "self.mean =", "self.held =")
ABSENT = ("has no ", "leave none", "selects none", "nothing to adapt", "no layer")
CLASS = """
import torch
import torch.utils.checkpoint
from torch import nn
from tests.campaigns.network_pieces import Output, zeroed

F, P = {features}, {dropout}

class Network(nn.Module):
    num_features = F
    def __init__(self):
        super().__init__()
        self.tables, self.masks, self.steps, self.last, self.state, self.mean = {{}}, {{}}, 0, None, None, 0.0
{init}

    def forward({arguments}):
        B = len(x)
{body}
"""
INPUTS = {
    "rows": ("self, x", "h = x", "rows"),
    "rows and a mask": ("self, x, mask", "h = x * (1 + mask[:, None].to(x))", "rows"),
    "a mask that empties rows": ("self, x, mask", "h = x.masked_fill(mask[:, None], 0)", "rows"),
    "rows as halves": ("self, x", "h = torch.cat([x[:, 0], x[:, 1]], 1)", "rows"),
    "a list of rows": ("self, xs", "x = h = torch.stack(list(xs))", "rows"),
    "rows in a dict": ("self, batch", "x = h = batch['x'] + batch['more'][0]", "rows"),
    "rows and others": ("self, x, other", "h = x + (x @ other.T).softmax(-1) @ other", "rows"),
    "rows and two each": ("self, x, other", "h = x + other.unflatten(0, (-1, 2)).mean(1)", "rows"),
    "tokens": ("self, x", "h = x", "tokens"),
    "tokens and a mask": ("self, x, mask=None", "h = x if mask is None else x * mask[..., None].to(x)", "tokens"),
    "tokens and lengths": (
        "self, x, lengths",
        "last = int(lengths.max())\nkeep = (torch.arange(last)[None] < lengths[:, None])[..., None].to(x)\n"
        "h = x[:, :last] * keep",
        "tokens",
    ),
    "words": ("self, x", "h = self.words(x)", "tokens"),
    "words without padding": ("self, x", "h = self.words(x) * (x != 0)[..., None].to(self.words.weight)", "tokens"),
    "pictures": ("self, x", "h = self.stem(x)", "pictures"),
    "pictures as patches": (
        "self, x",
        "h = self.stem(x).flatten(2).mT",
        "tokens",
    ),
}
OUTPUTS = {
    "a tensor": "return h",
    "a dict": "return {'y': h, 'more': [h * 2]}",
    "a tuple": "return h, h.mean(-1)",
    "a dataclass": "return Output(h, [h.tanh()])",
    "a list of rows": "return list(h.unbind(0))",
    "dicts of rows": "return [{'y': one} for one in h]",
    "normed": "return h / (1 + h.abs().amax(-1, keepdim=True))",
}


@dataclass
class Drawn:
    """A network with its tasks and batches.

    Attributes:
        source: of the class `Network`.
        seed: of its weights, tasks and inputs.
        tasks: number of tasks.
        batches: of each, the task of each row, the sequence's length or picture's size, and what its numbers are.
    """

    source: str
    seed: str
    given: str
    features: int
    method: str
    tasks: int
    heads: bool
    training: bool
    double: bool
    autocast: bool
    strength: float
    batches: list[tuple[str, int, str]]
    pieces: list[str]

    def __str__(self) -> str:
        settings = {name: value for name, value in vars(self).items() if name != "source"}
        return f"{settings}\n{self.source}"


def drawn(seed: int, number: int) -> Drawn:
    chance = random.Random(f"{seed} {number}")
    features = chance.choice((4, 4, 6, 8, 12))
    given = chance.choice([*INPUTS])
    arguments, begin, shape = INPUTS[given]
    names: list[str] = []
    made: dict[str, str] = {}
    if given.startswith("words"):
        made["words"] = "nn.Embedding(9, F)"
    elif given.startswith("pictures"):
        made["stem"] = chance.choice(("nn.Conv2d(3, F, 3, padding=1)", "nn.Conv2d(3, F, 2, stride=2)"))

    def filled(piece: str) -> list[str]:
        named: dict[str, str] = {}

        def module(found: re.Match[str]) -> str:
            kind, key = found[1], found[2] or f"{len(made)}"
            if key not in named:
                named[key] = f"n{len(made)}"
                made[named[key]] = MODULES[kind]
            return f"self.{named[key]}"

        return re.sub(r"@(\w+)(:\w+)?@", module, piece).splitlines()

    body = begin.splitlines()
    count = chance.randint(2, 5)
    odd = chance.sample(range(count), chance.choice((1, 1, 2)))  # several are refused, which hides what each does
    for n in range(count):
        if shape == "pictures" and n and chance.random() < 0.4:
            body += [chance.choice(TO_TOKENS)]
            shape = "tokens"
        elif shape == "tokens" and n and chance.random() < 0.3:
            body += [chance.choice(TO_ROWS)]
            shape = "rows"
        elif shape == "rows" and chance.random() < 0.1:
            body += chance.choice(UNFOLDED).splitlines()
            shape = "tokens"
        names.append(chance.choice([*PIECES[shape]][slice(5, None) if n in odd else slice(5)]))
        body += filled(PIECES[shape][names[-1]])
    if not any(kind.startswith("nn.") and "Parameter" not in kind and "Dropout" not in kind for kind in made.values()):
        body += filled("h = @linear@(h)" if shape != "pictures" else "h = @conv@(h)")
    heads = chance.random() < 0.4
    if shape == "tokens" and given == "tokens and lengths":
        body += ["h = (h * keep[:, : h.shape[1]]).sum(1) / keep.sum(1)"]
    elif shape != "rows" and (heads or chance.random() < 0.5):
        body += [chance.choice(OF_PICTURES if shape == "pictures" else TO_ROWS)]
    put_out = "a tensor" if heads or chance.random() < 0.5 else chance.choice([*OUTPUTS])
    body += [OUTPUTS[put_out]]
    training = chance.random() < 0.2
    if given.startswith("rows in"):
        body[0] = begin
    init = "\n".join(f"        self.{name} = {kind}" for name, kind in made.items())
    source = CLASS.format(
        features=features,
        dropout=0.0 if training else 0.3,
        init=init,
        arguments=arguments,
        body="\n".join(f"        {line}" for line in body),
    )
    if "len(x)" in source and "x = h" in begin:
        source = source.replace("        B = len(x)\n", "").replace(f"        {begin}\n", f"        {begin}\n        B = len(x)\n")
    tasks = chance.randint(2, 4)
    letters = "abcd"[:tasks]
    batches = []
    for n in range(3):
        rows = chance.choice((tasks, 2, 3, 4, 5, 5, 6, 7, 9))
        if n == 1 and chance.random() < 0.6:
            rows = len(batches[0][0])
        names_of = [*letters[: max(2, min(rows, tasks))], *(chance.choice(letters) for _ in range(rows))][:rows]
        chance.shuffle(names_of)
        size = batches[0][1] if n and chance.random() < 0.6 else chance.randint(2, 6)
        batches.append(("".join(names_of), size, chance.choice(("plain", "plain", "small", "large", "equal", "zeros", "one"))))
    method = chance.choice([*METHODS, *(["FTN"] * 6 if given.startswith("pictures") else [])])
    flags = heads, training, chance.random() < 0.15, chance.random() < 0.05, chance.choice((0.1, 0.3, 0.6, 1.5))
    return Drawn(source, f"{seed} {number}", given, features, method, tasks, *flags, batches, [*names, put_out])


def network_of(drawn: Drawn) -> nn.Module:
    """The network, with weights as after some training: norms and biases differ."""
    name = f"<network {drawn.seed}>"
    linecache.cache[name] = len(drawn.source), None, drawn.source.splitlines(keepends=True), name
    made: dict[str, Any] = {"__name__": f"networks.n{drawn.seed.replace(' ', '_')}"}
    exec(compile(drawn.source, name, "exec"), made)
    seeded(drawn, 0)
    network = made["Network"]()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.any() and parameter.is_floating_point():
                parameter.add_(0.1 * torch.randn_like(parameter))
    return network.double() if drawn.double else network


def seeded(drawn: Drawn, number: int) -> None:
    torch.manual_seed(random.Random(f"{drawn.seed} {number}").randrange(2**31))


def given(drawn: Drawn, number: int) -> tuple[Any, ...]:
    """The inputs of a batch."""
    seeded(drawn, 1 + number)
    names, size, kind = drawn.batches[number]
    rows, features = len(names), drawn.features
    dtype = torch.float64 if drawn.double else torch.float32

    def numbers(*shape: int) -> Tensor:
        x = torch.randn(shape, dtype=dtype)
        if kind == "small":
            return x * 0.1
        if kind == "large":
            return x * 3
        if kind == "zeros":
            return x * 0
        if kind == "equal":
            x[1::2] = x[:1]
        if kind == "one":
            x[1:] *= 0.05
        return x

    what = drawn.given
    if what.startswith("pictures"):
        return (numbers(rows, 3, size + 1, 2 + size),)
    if what.startswith("words"):
        return (torch.randint(0, 9, (rows, size)),)
    if what == "tokens":
        return (numbers(rows, size, features),)
    if what == "tokens and a mask":
        return numbers(rows, size, features), torch.rand(rows, size) > 0.3
    if what == "tokens and lengths":
        return numbers(rows, size, features), torch.randint(1, size + 1, (rows,))
    if what == "rows as halves":
        return (numbers(rows, 2, features // 2),)
    x = numbers(rows, features)
    return {
        "rows": lambda: (x,),
        "rows and a mask": lambda: (x, torch.rand(rows) > 0.5),
        "a mask that empties rows": lambda: (x, torch.rand(rows) > 0.7),
        "a list of rows": lambda: ([*x],),
        "rows in a dict": lambda: ({"x": x, "more": [torch.randn_like(x), 3]},),
        "rows and others": lambda: (x, numbers(rows + 1 if rows > 1 else 3, features)),
        "rows and two each": lambda: (x, numbers(2 * rows, features)),
    }[what]()


def taken(value: Any, rows: list[int], given: str, place: int = 0) -> Any:
    """The part of inputs for these rows."""
    if isinstance(value, Tensor):
        if place and given == "rows and others":
            return value
        each = 2 if place and given == "rows and two each" else 1
        return value[[each * n + m for n in rows for m in range(each)]]
    if isinstance(value, tuple):
        return tuple(taken(one, rows, given, n) for n, one in enumerate(value))
    if given == "rows in a dict":
        return {"x": value["x"][rows], "more": [value["more"][0][rows], 3]}
    return [value[n] for n in rows]


def rows_of(drawn: Drawn, output: Any, batch: int, several: bool = False) -> list[Tensor]:
    """What is put out for each row, flat; `several`: of several tasks, whose heads put out a list."""
    if (drawn.heads and several) or "of rows" in drawn.pieces[-1]:
        return [torch.cat([leaf.flatten() for leaf in tree_leaves(one)]) for one in output]
    leaves = tree_leaves([output.sample, output.more] if isinstance(output, Output) else output)
    return [torch.cat([leaf[n].flatten() for leaf in leaves]) for n in range(batch)]


def model_of(drawn: Drawn, network: nn.Module) -> tfold.MultiTask:
    """A model whose tasks have moved away from their start."""
    model = tfold.MultiTask(network, METHODS[drawn.method]()).train(drawn.training)
    for n in range(drawn.tasks):
        model.add_task("abcd"[n], head=2 + n if drawn.heads else None)
    seeded(drawn, -1)
    with torch.no_grad():
        for name in "abcd"[: drawn.tasks]:
            for held in leaves_of(model[name]):
                if held.tensor.is_floating_point() and held.group.trained:
                    size = float(held.tensor.std(correction=0).clamp(max=1, min=0.2))
                    held.tensor.add_(torch.randn_like(held.tensor) * drawn.strength * size)
    return model


@dataclass
class Judgement:
    """What became of a network: how each mixed batch was answered, and what should not have happened."""

    how: list[str] = field(default_factory=list)
    finds: list[str] = field(default_factory=list)


def is_ours(error: BaseException, network: nn.Module) -> bool:
    """Whether an error names the network or one of its layers."""
    said = str(error)
    paths = [path for path, _ in network.named_modules() if path]
    return "Network" in said or any(f"'{path}'" in said for path in paths)


def judged(drawn: Drawn) -> Judgement:
    """Compares mixed batches, by model and bank, with each task's rows by themselves in a fresh model."""
    found, network = Judgement(), network_of(drawn)
    try:
        start = model_of(drawn, network)
    except (ValueError, TypeError) as error:
        if not any(words in str(error) for words in ABSENT) and not is_ours(error, network):
            raise
        return Judgement(["absent"])
    runs: dict[str, Any] = {"model": copy.deepcopy(start)}
    if not drawn.training:
        try:
            runs["bank"] = copy.deepcopy(start).bank()
        except ValueError as error:
            if not is_ours(error, network) and "bank" not in str(error):
                found.finds.append(f"no bank: {error}")
    for number in range(len(drawn.batches)):
        _judge(drawn, number, start, runs, found)
    return found


class Batch:
    """A batch of a drawn network, and what tasks say of it by themselves.

    Attributes:
        inputs: of the network.
        names: the task of each row.
        tolerance: see `distance`.
    """

    def __init__(self, drawn: Drawn, number: int) -> None:
        self.drawn, self.number, self.inputs = drawn, number, given(drawn, number)
        self.names = [*drawn.batches[number][0]]
        self.tolerance = 2e-2 if drawn.autocast else 1e-6 if drawn.double else 1e-4
        self.rows = {name: [n for n, one in enumerate(self.names) if one == name] for name in sorted({*self.names})}

    def of(self, network: Callable[..., Any], rows: list[int], **named: Any) -> list[Tensor]:
        """What a network, or a model, puts out for some rows."""
        with torch.autocast("cpu", torch.bfloat16) if self.drawn.autocast else nullcontext():
            output = network(*taken(copy.deepcopy(self.inputs), rows, self.drawn.given), **named)
        return rows_of(self.drawn, output, len(rows), several=not isinstance(named.get("task", ""), str))

    def off(self, found: list[Tensor], wanted: list[Tensor]) -> float:
        """The largest difference of finite rows, in tolerances."""
        if [one.shape for one in found] != [one.shape for one in wanted]:
            return torch.inf
        pairs = zip(found, wanted, strict=True)
        return max([0.0, *(distance(a, b, self.tolerance) for a, b in pairs if torch.isfinite(b).all())])

    def alone(self, start: tfold.MultiTask) -> tuple[list[Tensor], str]:
        """What each row's task says of its rows, in a fresh model; where it refuses, its fold says it, and why.

        Raises:
            Exception: the network fails on these rows, or a fold differs from its task.
        """
        wanted, why = [torch.empty(0)] * len(self.names), ""
        for name, mine in self.rows.items():
            try:
                rows = self.of(copy.deepcopy(start), mine, task=name)
            except Exception as error:
                if not is_ours(error, start.backbone):
                    raise
                why, rows = str(error), self.of(copy.deepcopy(start).fold(name), mine)
            for n, row in zip(mine, rows, strict=True):
                wanted[n] = row
        return wanted, why

    def mixes(self, start: tfold.MultiTask) -> bool:
        """Whether what tasks say of a row depends on the other rows of its batch, with these numbers or with others."""
        kinds = [(*one[:2], "plain") if n == self.number else one for n, one in enumerate(self.drawn.batches)]
        for batch in (self, Batch(replace(self.drawn, batches=kinds), self.number)):
            for name, mine in batch.rows.items():
                whole = batch.of(copy.deepcopy(start), [*range(len(batch.names))], task=name)
                for some in (mine, *([n] for n in mine)):
                    try:
                        if batch.off(batch.of(copy.deepcopy(start), some, task=name), [whole[n] for n in some]) > 1:
                            return True
                    except Exception:
                        return True
        return False

    def gradients(self, model: tfold.MultiTask, mixed: bool) -> list[Tensor]:
        """Gradients of all tasks' numbers, of a sum over all rows, asked together or one by one."""
        parameters = [p for name in self.rows for p in model[name].parameters() if p.requires_grad]
        with torch.enable_grad():
            if mixed:
                rows = self.of(model, [*range(len(self.names))], task=self.names)
                loss = sum(row.square().sum() for row in rows)
            else:
                loss = sum(
                    row.square().sum() for name, mine in self.rows.items() for row in self.of(model, mine, task=name)
                )
            found = torch.autograd.grad(loss, parameters, allow_unused=True)  # type: ignore[arg-type]
        return [torch.zeros(1) if one is None else one for one in found]


@torch.no_grad()
def _judge(
    drawn: Drawn, number: int, start: tfold.MultiTask, runs: dict[str, Any], found: Judgement
) -> None:
    batch = Batch(drawn, number)
    every = [*range(len(batch.names))]
    try:
        wanted, refused = batch.alone(start)
    except Exception as error:
        found.how.append("broken")
        for mine in batch.rows.values():
            try:
                batch.of(network_of(drawn).train(drawn.training), mine)
            except Exception:
                return
        found.finds.append(f"batch {number}, alone: {told(error)}")
        return
    if not number and not drawn.training and not refused:
        for name, mine in batch.rows.items():
            try:
                off = batch.off(batch.of(copy.deepcopy(start).fold(name), mine), [wanted[n] for n in mine])
            except ValueError as error:
                if not is_ours(error, start.backbone):
                    found.finds.append(f"batch {number}, fold: {told(error)}")
                break
            if off > 1:
                found.finds.append(f"batch {number}, fold of {name}: off by {off:.3g} tolerances")
    for way, run in runs.items():
        run._runner.said = False
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            try:
                rows = batch.of(run, every, task=batch.names)
            except Exception as error:
                if not is_ours(error, start.backbone) and not refused:
                    try:
                        batch.of(network_of(drawn).train(drawn.training), every)
                    except Exception:
                        continue
                    found.finds.append(f"batch {number}, {way}: {told(error)}")
                if way == "model":
                    needless = not refused and not batch.mixes(start)
                    found.how.append(f"{'refused needlessly' if needless else 'refused'}: {error}")
                continue
        slower = next((m[1] for one in said if (m := SLOWER.search(str(one.message)))), "")
        how = f"task by task: {slower}" if slower else "in one pass"
        if way == "model":
            found.how.append(how)
        if (off := batch.off(rows, wanted)) > 1:
            found.finds.append(f"batch {number} of {''.join(batch.names)}, {way}: off by {off:.3g} tolerances, {how[:150]}")
    if found.finds or refused or any(words in drawn.source for words in STATEFUL):
        return
    if found.how[-1] in ("in one pass",) or found.how[-1].startswith("task by task"):
        try:
            pairs = zip(*(batch.gradients(copy.deepcopy(start), mixed) for mixed in (True, False)), strict=True)
            if (off := max(distance(a, b, 100 * batch.tolerance) if a.shape == b.shape else torch.inf for a, b in pairs)) > 1:
                found.finds.append(f"batch {number}, gradients: off by {off:.3g} tolerances")
        except Exception as error:
            found.finds.append(f"batch {number}, gradients: {told(error)}")
    if not drawn.autocast:
        _judge_broadcast(batch, start, runs, found)
    for name, mine in batch.rows.items():
        try:
            off = batch.off(batch.of(runs["model"], mine, task=name), [wanted[n] for n in mine])
        except Exception as error:
            if not is_ours(error, start.backbone):
                found.finds.append(f"batch {number}, task {name} afterwards: {told(error)}")
            continue
        if off > 1:
            found.finds.append(f"batch {number}, task {name} afterwards: off by {off:.3g} tolerances")


def _judge_broadcast(batch: Batch, start: tfold.MultiTask, runs: dict[str, Any], found: Judgement) -> None:
    every, names = [*range(len(batch.names))], [*batch.rows]
    if len(names) < 2:
        return
    for way, run in runs.items():
        try:
            output = run(*copy.deepcopy(batch.inputs), task=names, broadcast=True)
        except Exception as error:
            if not is_ours(error, start.backbone):
                found.finds.append(f"batch {batch.number}, broadcast of {way}: {told(error)}")
            return
        for name in names:
            wanted = batch.of(copy.deepcopy(start), every, task=name)
            if (off := batch.off(rows_of(batch.drawn, output[name], len(every)), wanted)) > 1:
                found.finds.append(f"batch {batch.number}, broadcast of {way}, {name}: off by {off:.3g} tolerances")


def told(error: Exception) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({last.filename.rpartition('/')[2]}:{last.lineno})"


def _late(*_: object) -> None:
    raise TimeoutError(f"it takes more than {SECONDS} seconds")


def campaign(networks: int, seed: int, only: int | None = None) -> Iterator[tuple[Drawn, Judgement]]:
    """Draws networks and judges each."""
    before = signal.signal(signal.SIGALRM, _late)
    try:
        for number in range(networks) if only is None else [only]:
            one = drawn(seed, number)
            signal.alarm(SECONDS)
            try:
                yield one, judged(one)
            except Exception as error:
                last = "".join(traceback.format_tb(error.__traceback__)[-3:])
                yield one, Judgement(["failed"], [f"the campaign itself: {type(error).__name__}: {error}\n{last}"])
            finally:
                signal.alarm(0)
    finally:
        signal.signal(signal.SIGALRM, before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="the number of a network, which is printed")
    asked = parser.parse_args()
    counts: Counter[str] = Counter()
    wrong = 0
    for one, found in campaign(asked.networks, asked.seed, asked.only):
        for how in found.how:
            counts[how.partition(":")[0]] += 1
        wrong += bool(found.finds)
        if found.finds or asked.only is not None:
            print(f"network {one.seed}: {found.finds}\n{found.how}\n{one}\n", flush=True)
    print(f"{asked.networks} networks, their batches: {dict(counts)}; networks with finds: {wrong}")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
