"""Updates on singular vectors: the formula, the places of each pattern, and the basis's marks in a file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import taskfold as tfold
from taskfold import MultiTask, TaskFileError
from taskfold.factors import Modes, Singular
from taskfold.layers import Linears, Update, parts_of
from taskfold.routing import Shared
from taskfold.tasks import read, write

from ..recipes import OfRecipes

CASES = [
    (Singular(), Modes((5,), (7,))),
    (Singular(gate=True), Modes((6,), (4,))),
    (Singular("banded"), Modes((4,), (3,), (3, 3))),
    (Singular("banded", off=9), Modes((3, 2), (5,))),
    (Singular("random", off=2, seed=3), Modes((5,), (7,))),
    (Singular("top-k"), Modes((6,), (6,))),
]
every_case = pytest.mark.parametrize(("made", "modes"), CASES)


def weight_of(modes: Modes) -> Tensor:
    return torch.randn(modes.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def oracle(made: Singular, leaves: dict[str, Tensor], weight: Tensor, modes: Modes) -> Tensor:
    """W_t, entry by entry of M."""
    basis = made.basis(weight, modes)
    u, v = basis["u"], basis["v"]
    n = u.shape[1]
    places = [(i, i) for i in range(n)]
    if made.pattern == "banded":
        places = [(i, j) for i in range(n) for j in range(n) if abs(i - j) <= made.off]
    elif made.pattern != "plain":
        places = [divmod(place, n) for place in basis["places"].tolist()]
    assert len(places) == len(leaves["entries"])
    total = weight.flatten(1)
    for (i, j), entry in zip(places, leaves["entries"], strict=True):
        total = total + entry * torch.outer(u[:, i], v[:, j]) * (leaves["gate"].sigmoid() if made.gate else 1)
    return total.reshape(modes.shape)


@every_case
def test_the_weight_is_the_formula_in_value_and_gradient(made: Singular, modes: Modes) -> None:
    torch.manual_seed(0)
    weight = weight_of(modes)
    shapes = {name: leaf.shape for name, leaf in made.leaves(modes).items()}
    leaves = {name: torch.randn(shape, dtype=torch.float64, requires_grad=True) for name, shape in shapes.items()}
    found = made.whole({**leaves, **made.basis(weight, modes)}, weight, modes)
    wanted, toward = oracle(made, leaves, weight, modes), weight_of(modes) + 1
    torch.testing.assert_close(found, wanted)
    given = [*leaves.values()]
    torch.testing.assert_close(
        torch.autograd.grad((found * toward).sum(), given), torch.autograd.grad((wanted * toward).sum(), given)
    )


@every_case
def test_the_basis_is_the_weight_s_own_with_fixed_signs(made: Singular, modes: Modes) -> None:
    weight = weight_of(modes)
    basis = made.basis(weight, modes)
    u, v = basis["u"], basis["v"]
    values = torch.linalg.svdvals(weight.flatten(1))
    torch.testing.assert_close((u * values) @ v.mT, weight.flatten(1))
    for name, tensor in made.basis(-weight, modes).items():  # the same subspaces; one side must turn
        torch.testing.assert_close(tensor, -basis[name] if name == "v" else basis[name])


def test_random_places_are_each_there_once_and_the_seed_s() -> None:
    modes = Modes((6,), (6,))
    places = [Singular("random", seed=n).basis(weight_of(modes), modes)["places"] for n in (0, 0, 1)]
    assert len(places[0].unique()) == len(places[0]) == 16
    assert places[0].equal(places[1])
    assert not places[0].equal(places[2])


def test_top_k_are_the_largest_products_of_both_sides() -> None:
    made, modes = Singular("top-k"), Modes((6,), (6,))
    basis = made.basis(weight_of(modes), modes)
    products = (basis["u"].mT @ basis["v"]).abs().flatten()
    left = torch.ones(36, dtype=torch.bool).index_fill(0, basis["places"], False)
    assert products[basis["places"]].min() > products[left].max()
    net = nn.Sequential(nn.Linear(4, 6))
    with pytest.raises(
        ValueError, match=r"layer '0': pattern='top-k' compares .* have 6 and 4 numbers; choose another"
    ):
        MultiTask(net, tfold.SVFT("top-k")).add_task("a")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pattern": "full"}, "pattern='full' is not known; choose one of plain, banded"),
        ({"init": "none"}, "init='none' is not known"),
        ({"off": 0}, "off must be a whole number ≥ 1, found 0"),
        ({"seed": -1}, r"seed must be a whole number 0 to 2147483647, found -1"),
        ({"layers": "norm"}, "layers='norm' is not known"),
        ({"off": 5}, "pattern='plain' has no diagonals beside its own, found off=5"),
    ],
)
def test_bad_settings_are_named_at_construction(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tfold.SVFT(**settings)


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 4))


def trained(method: tfold.Method) -> MultiTask:
    model = MultiTask(network(), method, num_features=4).eval()
    for name in "ab":
        for parameter in model.add_task(name, head=2).parameters():
            nn.init.normal_(parameter)
    return model


@pytest.mark.parametrize("pattern", ["plain", "banded"])
def test_a_file_holds_entries_alone_and_is_refused_on_another_basis(pattern: str, tmp_path: Path) -> None:
    model, path = trained(tfold.SVFT(pattern)), tmp_path / "a.safetensors"  # type: ignore[arg-type]
    model.save_task("a", path)
    contents = read(path)
    assert sum(tensor.numel() for tensor in contents.tensors.values()) == sum(model["a"].counts().values())
    other = MultiTask(network(), num_features=4).eval()
    other.load_task(path)
    x = torch.randn(3, 6)
    assert torch.equal(other(x, task="a"), model(x, task="a"))
    header = {key: v for key, v in contents.header.items() if key not in ("digest", "format_version")}
    name, said = next(iter(header["stored"].items()))
    for marks in ([-mark for mark in said["marks"]], said["marks"][:1]):
        write(path, {**header, "stored": {**header["stored"], name: {**said, "marks": marks}}}, contents.tensors)
        with pytest.raises(
            TaskFileError,
            match=r"entries' as values of .* stand on singular vectors of the weight, with the marks .* and its method",
        ):
            MultiTask(network(), num_features=4).load_task(path)


def test_tasks_have_one_basis_which_a_moved_weight_renews() -> None:
    net = network()
    model = MultiTask(net, tfold.SVFT())
    bases = [part.basis for name in "ab" for _, part in parts_of(model.add_task(name))]  # type: ignore[attr-defined]
    assert bases[:2] == bases[2:]
    assert bases[0] is not bases[1]
    with torch.no_grad():
        net[0].weight.mul_(torch.linspace(1, 2, 6))  # type: ignore[index, union-attr, operator]
    again = [part.basis for _, part in parts_of(model.add_task("c"))]  # type: ignore[attr-defined]
    assert again[0] is not bases[0]
    assert again[1] is bases[1]


def test_leaves_on_a_basis_are_no_inventory_s() -> None:
    method = OfRecipes(Update(Singular(), Linears(), Shared()))
    with pytest.raises(ValueError, match=r"layer '0': sharing='shared' keeps leaves in the inventory.*use 'private'"):
        MultiTask(network(), method).add_task("a")
