"""Random networks with tasks and batches, put together out of `network_pieces`."""

from __future__ import annotations

import linecache
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

import taskfold as tfold
from taskfold.testing._subject import leaves_of

from .network_pieces import MODULES, OF_PICTURES, PIECES, TO_ROWS, TO_TOKENS, UNFOLDED, Output
from .ways import HOOKS, WAYS, hook

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
    "rows and two blocks": ("self, x, other", "B = x.shape[0]\nh = x + other[:B] - 0.5 * other[B:]", "rows"),
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
        given: what its inputs are, see `INPUTS`.
        features: F.
        method: see `METHODS`.
        tasks: number of tasks.
        heads: the tasks have heads, of unequal sizes.
        training: the model is in training mode.
        double: numbers are of double precision.
        autocast: passes run under autocast.
        strength: how far tasks are moved from their start.
        batches: of each, the task of each row, the sequence's length or picture's size, and what its numbers are.
        pieces: their names, and that of the output.
        hook: the user's hook on one of the layers, see `HOOKS`; empty: none.
        place: which layer that is.
        way: a further way in which mixed batches are asked, see `WAYS`.
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
    hook: str
    place: int
    way: str

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

    body = [*begin.splitlines(), "B = x.shape[0]"]
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
    init = "\n".join(f"        self.{name} = {kind}" for name, kind in made.items())
    source = CLASS.format(
        features=features,
        dropout=0.0 if training else 0.3,
        init=init,
        arguments=arguments,
        body="\n".join(f"        {line}" for line in body),
    )
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
        batches.append(
            ("".join(names_of), size, chance.choice(("plain", "plain", "small", "large", "equal", "zeros", "one")))
        )
    method = chance.choice([*METHODS, *(["FTN"] * 6 if given.startswith("pictures") else [])])
    flags = heads, training, chance.random() < 0.15, chance.random() < 0.05, chance.choice((0.1, 0.3, 0.6, 1.5))
    hooked = chance.choice([*HOOKS, *([""] * 2 * len(HOOKS))])
    place, way = chance.randrange(100), chance.choices([*WAYS], [often for _, often in WAYS.values()])[0]
    last = [*names, put_out], hooked, place, way
    return Drawn(source, f"{seed} {number}", given, features, method, tasks, *flags, batches, *last)


def network_of(drawn: Drawn) -> nn.Module:
    """The network, with weights as after some training: norms and biases differ."""
    name = f"<network {drawn.seed}>"
    linecache.cache[name] = len(drawn.source), None, drawn.source.splitlines(keepends=True), name
    made: dict[str, Any] = {"__name__": f"network_{drawn.seed.replace(' ', '_')}"}
    exec(compile(drawn.source, name, "exec"), made)
    seeded(drawn, 0)
    network = made["Network"]()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.any() and parameter.is_floating_point():
                parameter.add_(0.1 * torch.randn_like(parameter))
    if drawn.hook:
        hook(network, drawn.hook, drawn.place)
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
        "rows and two blocks": lambda: (x, numbers(2 * rows, features)),
    }[what]()


def taken(value: Any, rows: list[int], given: str, place: int = 0) -> Any:
    """The part of inputs for these rows."""
    if isinstance(value, Tensor):
        if place and given == "rows and others":
            return value
        if place and given == "rows and two blocks":
            return value[[*rows, *(n + len(value) // 2 for n in rows)]]
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
