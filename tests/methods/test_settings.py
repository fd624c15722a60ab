"""Settings of wrong types and out of range, for every method: refused by their names, and nothing is allocated."""

from __future__ import annotations

import dataclasses
from math import inf, nan

import pytest
from torch import nn

import taskfold as tfold
from taskfold.methods import build, names
from taskfold.tasks import _leaves

from .cases import ATTENTION

ODD = [None, True, "x", "", -1, 0, 0.5, 2, 2.5, nan, inf, -inf, 10**9, 1e300, [], ["a"], {}, {"x": "y"}, b"x", object]


OURS = [name for name in names() if type(build(name)).__module__.startswith("taskfold.")]  # not those of tests


@pytest.mark.parametrize("name", OURS)
def test_what_is_refused_names_the_setting(name: str) -> None:
    said: list[tuple[str, str]] = []
    for field in dataclasses.fields(build(name)):
        for value in ODD:
            try:
                build(name, {field.name: value})
            except ValueError as error:  # whatever else is raised breaks the test
                said.append((field.name, str(error)))
    assert len(said) > len(ODD)
    assert not [text for setting, text in said if setting not in text]


NUMBERS = [(name, f.name) for name in OURS for f in dataclasses.fields(build(name)) if "float" in str(f.type)]


@pytest.mark.parametrize(("name", "setting"), [*NUMBERS, ("lora", "alpha"), ("dora", "alpha")])
def test_numbers_are_finite_in_single_precision(name: str, setting: str) -> None:
    for value in (inf, nan, 1e300, True):
        with pytest.raises(ValueError, match=setting):
            build(name, {setting: value})


HUGE = 10**13


@pytest.mark.parametrize(
    ("method", "leaf"),
    [
        (tfold.LoRA(rank=HUGE), "up"),
        (tfold.BottleneckAdapter(width=HUGE), "down"),
        (tfold.PromptTuning(tokens=HUGE), "rows"),
        (tfold.PrefixTuning(mlp=HUGE), "down"),
        (tfold.Poly(skills=HUGE), "routing"),
        (tfold.SAID(HUGE), "vector"),
        (tfold.ExpandNet(rate=1e12), "first"),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_a_task_that_no_memory_holds(method: tfold.Method, leaf: str) -> None:
    model = tfold.MultiTask(_vit(), method)
    with pytest.raises(ValueError, match=rf"'{leaf}' would have shape \[.*\], and there is room for"):
        model.add_task("a")
    assert not model.tasks
    assert not model.inventory


def test_leaves_have_room_together(monkeypatch: pytest.MonkeyPatch) -> None:
    net = nn.Sequential(*(nn.Linear(8, 8) for _ in range(3)))
    monkeypatch.setattr(_leaves, "memory", lambda: 2 * 2 * 8 * 4 * 4)  # of two layers; the third has too many
    with pytest.raises(ValueError, match="GiB in all; choose smaller settings"):
        tfold.MultiTask(net, tfold.LoRA(rank=4)).add_task("a")
    tfold.MultiTask(net[:2], tfold.LoRA(rank=4)).add_task("a")


@pytest.mark.parametrize(
    ("method", "said"),
    [
        (tfold.IA3(outputs="x"), "outputs='x' selects none of the"),
        (tfold.IA3(inputs="x"), "inputs='x' selects none of the"),
        (tfold.BitFit(create=True, create_at="x"), "create_at='x' selects none of the"),
        (tfold.KAdaptation(terms=5), "terms=5 of the Kronecker products must divide the 24 inputs"),
        (
            tfold.FourierFT(count=10**6),
            "count=1000000 frequencies are more than the weight's 576 numbers; choose fewer",
        ),
    ],
    ids=str,
)
def test_what_does_not_fit_the_network_names_the_setting(method: tfold.Method, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        tfold.MultiTask(_vit(), method).add_task("a")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"rank": {"layer9.*": 2, "*": 4}}, r"rank: 'layer9\.\*' matches nothing in"),
        ({"rank": {"*": 2, "blocks.0.*": 4}}, r"rank: earlier patterns match all that 'blocks\.0\.\*' does"),
        ({"alpha": {"blok*": 2.0, "*": 1.0}}, r"alpha: 'blok\*' matches nothing in"),
    ],
    ids=str,
)
def test_numbers_by_layer_that_no_layer_has_are_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        tfold.MultiTask(_vit(), tfold.LoRA()).add_task("a", **settings)


def test_the_last_pattern_may_be_for_no_layer() -> None:
    model = tfold.MultiTask(
        _vit(), tfold.LoRA(targets="blocks.0.*", rank={"blocks.0.attn.*": 2, "blocks.0.*": 1, "*": 4})
    )
    assert model.add_task("a").counts()["factors"] > 0


def _vit() -> nn.Module:
    return ATTENTION["timm-vit"]()
