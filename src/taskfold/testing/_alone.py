"""Laws of one task: it moves nothing else, all of it learns, and fold, file and count agree with it."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from ..counting import count
from ..factors import STATISTICS, Factorisation, Modes
from ..layers import Factored, parts_of, silent_of, statistics_of, stood_on, stored_of
from ..model import MultiTask, left_out
from ..tasks import Task, TaskFileError
from ._compare import DOUBLE, check_close, check_same, snapshot
from ._dense import Indifference
from ._slopes import check_slopes
from ._subject import HEADS, Subject, floating, learning_steps, leaves_of


def isolation(subject: Subject) -> None:
    """Neither the backbone nor another task moves by a bit when a task is added, trained, renamed and removed."""
    model, x = subject.stirred("a"), subject.inputs(4)
    backbone, task = snapshot(model.backbone), snapshot(model["a"])
    shared = {held.where: held.tensor.clone() for held in leaves_of(model["a"]) if not held.own}
    with torch.no_grad():
        output = model(x, task="a")
    model.add_task("b", head=HEADS["b"])
    begun = snapshot(model["b"])
    learning_steps(model, "b", x)
    after = snapshot(model["b"])
    assert any(not torch.equal(begun[key], after[key]) for key in begun), "a task that trains stays as it was"
    # Each task's training moves what tasks share.
    with torch.no_grad():
        for held in leaves_of(model["a"]):
            if held.where in shared:
                held.tensor.copy_(shared[held.where])

    def check(when: str) -> None:
        check_same(f"the backbone, when another task {when}", snapshot(model.backbone), backbone)
        check_same(f"a task, when another {when}", snapshot(model["a"]), task)
        with torch.no_grad():
            check_same(f"a task's output, when another {when}", {"output": model(x, task="a")}, {"output": output})

    check("trains")
    model.rename_task("b", "c")
    model.remove_task("c")
    check("goes")


def learning(subject: Subject) -> None:
    """Every leaf of a task and every parameter of its head moves in training.

    Running statistics, which are not trained, move too, with the network's inputs. A leaf that stays is excused if the
    dense network is indifferent to it: a bias right before BatchNorm or on keys, an embedding of unseen inputs.
    """
    still = unlearned(subject)
    assert not still, f"{len(still)} leaves stay as they are in training: {'; '.join(still)}"


def unlearned(subject: Subject) -> list[str]:
    """The leaves that stay although the network is not indifferent to them."""
    model = subject.stirred("a") if len(subject.model("a").inventory) else subject.model("a")
    model, x = model.double(), floating(subject.inputs(4))
    wanted = [(held.where, held.tensor) for held in leaves_of(model["a"]) if _learns(held.tensor, held.group)]
    head = model["a"].head
    wanted += [(f"head, parameter {key!r}", p) for key, p in ([] if head is None else head.named_parameters())]
    before = [tensor.detach().clone() for _, tensor in wanted]
    learning_steps(model, "a", x)
    still = [where for (where, tensor), was in zip(wanted, before, strict=True) if torch.equal(tensor, was)]
    if not still:
        return []
    indifferent = Indifference(model, "a", x)
    return [where for where in still if not indifferent(where)]


def _learns(tensor: torch.Tensor, group: object) -> bool:
    return tensor.is_floating_point() and (group == STATISTICS or getattr(group, "trained", True))


def factors(subject: Subject) -> None:
    """A factorisation's weight is the same with its bottleneck and without, and its gradients are slopes."""
    model = subject.stirred("a").double()
    tried: set[type] = set()
    for (path, name), part in parts_of(model["a"]):
        if isinstance(part, Factored) and part.factorisation.has_bottleneck:
            leaves, modes = part.selected(torch.float64, training=False), part.view.modes
            thin = part.factorisation.bottleneck(leaves, modes)
            if thin is not None:
                whole = part.factorisation.materialise(leaves, modes)
                place = f"layer {path!r}, part {name!r}: materialise of {type(part.factorisation).__name__}"
                check_close(f"{place}, beside its bottleneck", whole, thin.dense().reshape(modes.shape), None, DOUBLE)
                if type(part.factorisation) not in tried:
                    tried.add(type(part.factorisation))
                    _slopes(part.factorisation, leaves, modes, f"layer {path!r}, part {name!r}")


def _slopes(made: Factorisation, leaves: Mapping[str, Tensor], modes: Modes, place: str) -> None:
    """The gradients of both forms of a weight are the slopes."""
    wanted = {name for name, leaf in made.leaves(modes).items() if leaf.group.trained}
    names = [name for name, tensor in leaves.items() if name in wanted and tensor.is_floating_point()]

    def thin(leaves: dict[str, Tensor]) -> Tensor:
        found = made.bottleneck(leaves, modes)
        assert found is not None
        return found.dense()

    check_slopes(
        f"{place}: materialise of {type(made).__name__}", lambda one: made.materialise(one, modes), leaves, names
    )
    check_slopes(f"{place}: bottleneck of {type(made).__name__}", thin, leaves, names)


def folding(subject: Subject) -> None:
    """A fold is a plain network of the same architecture with the task's outputs; or it is refused by name.

    Folding may add biases to layers that had none, and nothing else.
    """
    model, x = subject.asked(), subject.inputs(4)
    try:
        folded = model.fold("a").eval()
    except ValueError as refusal:
        said = str(refusal)
        if "task 'a', layer " not in said:
            raise AssertionError(f"folding is refused without the task's and the layer's name: {said}") from refusal
        contracted = count(model.backbone, subject.method).contracted
        assert contracted is None, f"folding is refused, and count() says that {contracted} numbers are left"
        return
    body = folded.get_submodule("backbone")
    assert type(body) is type(model.backbone), f"the fold is a {type(body).__name__}"
    plain, made = model.backbone.state_dict().keys(), body.state_dict().keys()
    skipped = tuple(f"{path}." for path in left_out(model.backbone, model["a"]))
    lacks = [key for key in sorted(plain - made) if not key.startswith(skipped)]
    assert not lacks, f"the fold lacks {lacks[0]!r}"
    made = {key for key in made if not key.startswith(skipped)}
    odd = [key for key in sorted(made - plain) if key.rpartition(".")[2] != "bias"]
    assert not odd, f"the fold holds {odd[:1]}, which the backbone does not"
    sizes, said = sum(p.numel() for p in body.parameters()), count(model.backbone, subject.method).contracted
    assert skipped or sizes == said, f"the fold has {sizes} numbers, and count() says {said}"
    with torch.no_grad():
        check_close("output of the fold", folded(x), model(x, task="a"), model(x, task="b"))


def file(subject: Subject) -> None:
    """A task's file restores the task, bit for bit, in another model of the same backbone."""
    model, x = subject.asked(), subject.inputs(4)
    model["a"].info.labels = ("x", "y", "z")
    model["a"].info.metrics = {"test_accuracy": 0.5}
    other = MultiTask(copy.deepcopy(model.backbone), num_features=subject.num_features).eval()
    with tempfile.TemporaryDirectory() as name:
        path = model.save_task("a", Path(name) / "a.safetensors")
        if stood_on(model["a"]):
            try:
                other.load_task(path)
            except TaskFileError as refusal:
                if "does not hold; load its file first: model.load_inventory" not in str(refusal):
                    raise AssertionError(f"a missing inventory is refused in other words: {refusal}") from refusal
            else:
                raise AssertionError("a task is loaded without the inventory that it stands on")
            other.load_inventory(model.save_inventory(Path(name) / "inventory.safetensors"))
        loaded = other.load_task(path)
    check_same("a task and what its file says", _kept(loaded), _kept(model["a"]))
    assert loaded.info == model["a"].info, f"info {loaded.info}, not {model['a'].info}"
    assert loaded.method == model["a"].method, f"method {loaded.method}, not {model['a'].method}"
    with torch.no_grad():
        found, wanted = other(x, task="a"), model(x, task="a")
        check_close("output of the loaded task", found, wanted, model(x, task="b"))
        check_same("output of the loaded task", {"output": found}, {"output": wanted})


def _kept(task: Task) -> dict[str, torch.Tensor]:
    """A file's form of a task's tensors: values, or bits; unused ones are left out."""
    stored, silent = stored_of(task), silent_of(task)
    held = {key: tensor for key, tensor in snapshot(task).items() if key not in silent}
    return {key: stored[key].pack(tensor) if key in stored else tensor for key, tensor in held.items()}


def counts(subject: Subject) -> None:
    """`count`, `Task.counts` and `Task.groups` agree with the leaves' numbers, group by group."""
    model = subject.model("a")
    task, said = model["a"], count(subject.build(), subject.method, head=None)
    sums: dict[str, int] = {}
    values: dict[str, int] = {}
    apart: set[str] = set()
    shared = 0
    for held in leaves_of(task):
        counted = isinstance(held.tensor, nn.Parameter) if held.own else held.tensor.is_floating_point()
        if held.group == STATISTICS or not counted:
            continue
        if held.own:
            sums[held.group.name] = sums.get(held.group.name, 0) + held.tensor.numel()
            how = held.stored
            what, size = held.group.name, held.tensor.numel()
            if how is not None and how.counted:
                what, size = how.counted, how.size(held.tensor)
                apart.add(what)
            if not held.passes:
                values[what] = values.get(what, 0) + size
        else:
            shared += held.tensor.numel()
    head = sum(p.numel() for p in task.head.parameters()) if task.head is not None else 0
    for where, found, wanted in (
        ("Task.counts()", {**task.counts(), "head": 0}, sums),
        ("Task.groups()", {**{k: sum(p.numel() for p in v) for k, v in task.groups().items()}, "head": 0}, sums),
        ("count()", {**said.per_task, "routing": said.routing, "head": 0}, values),
    ):
        for group in found.keys() | wanted.keys():
            mine, leaves = found.get(group, 0), wanted.get(group, 0)
            assert mine == leaves, f"{where} says {mine} of group {group!r}, and the leaves have {leaves}"
    assert task.counts()["head"] == head, f"Task.counts() says {task.counts()['head']} of the head, which has {head}"
    assert said.shared == shared, f"count() says {said.shared} shared, and the inventory's leaves have {shared}"
    total = sum(size for what, size in values.items() if what not in apart) + shared
    assert said.adapter_total == total, f"count() says {said.adapter_total} in all, and the leaves have {total}"
    odd = [key for key, leaf in _statistics(model) if leaf.requires_grad]
    assert not odd, f"running statistics {odd[:1]} want a gradient"


def _statistics(model: MultiTask) -> Iterator[tuple[str, torch.Tensor]]:
    yield from statistics_of(model["a"]).items()
