"""Projections drawn from a seed: written out as matrices, equal everywhere, and tied to their seed in files."""

from __future__ import annotations

import copy
import math
import pickle
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import taskfold as tfold
from taskfold import MultiTask, TaskFileError
from taskfold.factors import Fastfood
from taskfold.factors._draws import bits, normals, shuffle, signs
from taskfold.factors._fastfood import hadamard
from taskfold.layers import parts_of
from taskfold.tasks import read, write


def walsh(length: int) -> Tensor:
    """H of ±1, by its definition."""
    one = torch.ones(1, 1, dtype=torch.float64)
    while len(one) < length:
        one = torch.cat([torch.cat([one, one], 1), torch.cat([one, -one], 1)])
    return one


def matrix(dimension: int, size: int, seed: int, number: int) -> Tensor:
    """P, `[size, d]`, factor by factor."""
    exponent = math.ceil(math.log2(size))
    length = 2**exponent
    flips = signs(seed, 3 * number, length).double()
    order = shuffle(seed, 3 * number + 1, exponent)
    gauss = normals(seed, 3 * number + 2, length).double()
    filled = torch.eye(length, dimension, dtype=torch.float64)  # cut, or filled up with zeros
    inner = torch.eye(length, dtype=torch.float64)[order] @ walsh(length) @ torch.diag(flips) @ filled
    return (walsh(length) @ torch.diag(gauss) @ inner)[:size] / (gauss.square().sum() * size).sqrt()


@pytest.mark.parametrize(("dimension", "size"), [(5, 8), (20, 8), (8, 5), (3, 1), (6, 33)])
def test_it_is_the_product_of_its_matrices_in_value_and_gradients(dimension: int, size: int) -> None:
    torch.manual_seed(0)
    vector = torch.randn(dimension, dtype=torch.float64, requires_grad=True)
    found, wanted = Fastfood.of(7).project(vector, size, 3), matrix(dimension, size, 7, 3)
    torch.testing.assert_close(found, wanted @ vector)
    toward = torch.randn(size, dtype=torch.float64)
    torch.testing.assert_close(torch.autograd.grad((found * toward).sum(), vector)[0], wanted.T @ toward)
    torch.autograd.gradgradcheck(lambda v: Fastfood.of(7).project(v, size, 3).square(), vector)


def test_hadamard_is_walsh_s_matrix_both_ways() -> None:
    made = torch.stack([hadamard(one) for one in torch.eye(16, dtype=torch.float64)])
    assert made.equal(walsh(16))
    assert made.equal(made.T)
    assert (made @ made).equal(16 * torch.eye(16, dtype=torch.float64))


def test_drawn_numbers_are_the_same_everywhere() -> None:
    """SplitMix64 itself, in Python's whole numbers."""

    def mixed(x: int) -> int:
        x = (x + 1) * 0x9E3779B97F4A7C15 % 2**64
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
        return x ^ (x >> 31)

    wanted = [mixed(mixed((mixed(5) + 2) % 2**64) + n) for n in range(4)]
    assert [one % 2**64 for one in bits(5, 2, 4).tolist()] == wanted
    assert normals(5, 2, 4).tolist() == [sum((one >> 8 * n) % 256 for n in range(8)) - 1020 for one in wanted]
    assert signs(5, 2, 3).tolist() == [2 * (wanted[0] >> n & 1) - 1 for n in range(3)]
    for exponent in range(9):
        assert shuffle(5, 2, exponent).sort().values.equal(torch.arange(2**exponent))
    assert not shuffle(5, 2, 8).equal(torch.arange(256))
    gauss = normals(0, 0, 1 << 16).double() / 209
    assert abs(gauss.mean()) < 0.02
    assert gauss.std() == pytest.approx(1, abs=0.02)


def test_what_is_kept_of_a_seed_is_common_bounded_and_goes_with_its_tasks() -> None:
    one = Fastfood.of(11)
    assert copy.deepcopy(one) is one
    assert pickle.loads(pickle.dumps(one)) is one
    vector = torch.randn(4)
    found = one.project(vector, 8, 0)
    assert [len(one.known)] == [1]
    one.room = 0
    assert one.project(vector, 9, 1).equal(one.project(vector, 9, 1))
    assert len(one.known) == 1
    assert one.project(vector, 8, 0).equal(found)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.LayerNorm(5), nn.Tanh(), nn.Linear(5, 4, bias=False))


def trained(method: tfold.Method) -> MultiTask:
    model = MultiTask(network(), method, num_features=4).eval()
    for parameter in model.add_task("a", head=2).parameters():
        nn.init.normal_(parameter)
    return model


def test_every_parameter_moves_along_its_own_projection_and_scale() -> None:
    model = trained(tfold.SAID(30, seed=4)).double()
    task, folded = model["a"], model.fold("a")
    own = next(part.own for _, part in parts_of(task))
    vector, scales = own["vector"], own["scales"]
    assert (len(vector), len(scales)) == (25, 5)
    plain = dict(folded.get_submodule("backbone").named_parameters())
    for n, (name, weight) in enumerate(model.backbone.named_parameters()):
        moved = scales[n] * (matrix(25, weight.numel(), 4, n) @ vector)
        torch.testing.assert_close(plain[name], weight + moved.reshape(weight.shape))


def test_a_file_belongs_to_its_seed(tmp_path: Path) -> None:
    model, path = trained(tfold.SAID(30, seed=4)), tmp_path / "a.safetensors"
    model.save_task("a", path)
    contents = read(path)
    other = MultiTask(network(), num_features=4).eval()
    other.load_task(path)
    x = torch.randn(3, 6)
    assert torch.equal(other(x, task="a"), model(x, task="a"))
    header = {key: v for key, v in contents.header.items() if key not in ("digest", "format_version")}
    method = {**header["method"], "settings": {**header["method"]["settings"], "seed": 5}}
    write(path, {**header, "method": method}, contents.tensors)
    with pytest.raises(TaskFileError, match=r"stand on projections of seed 4 to 5 tensors.* on projections of seed 5"):
        MultiTask(network(), num_features=4).load_task(path)


def test_bad_settings_are_named() -> None:
    with pytest.raises(ValueError, match="dimension must be a whole number ≥ 2, found 1"):
        tfold.SAID(1)
    with pytest.raises(ValueError, match=r"seed must be a whole number 0 to 2147483647, found 'a'"):
        tfold.SAID(seed="a")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="dimension=5 leaves no number for the vector: the network has 5 parameter"):
        MultiTask(network(), tfold.SAID(5)).add_task("a")
    with pytest.raises(ValueError, match=r"targets='x' selects no layer of Sequential with parameters"):
        MultiTask(network(), tfold.SAID(targets="x")).add_task("a")
