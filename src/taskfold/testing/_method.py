"""The laws of a method."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import torch
from torch import Tensor, nn

from ..methods import Method
from . import _alone, _together
from ._subject import Subject, images

_LAWS: dict[str, Callable[[Subject], None]] = {
    law.__name__: law
    for law in (
        _alone.isolation,
        _alone.learning,
        _alone.factors,
        _alone.folding,
        _alone.file,
        _alone.counts,
        _together.mixed,
        _together.gradients,
        _together.bank,
        _together.threads,
    )
}
LAWS = tuple(_LAWS)
"""The names of a method's laws."""


def check_method(
    method: Method,
    networks: Mapping[str, Callable[[], nn.Module]],
    *,
    inputs: Callable[[int], Tensor] = images,
    num_features: int | None = None,
    laws: Collection[str] = LAWS,
    seed: int = 0,
) -> None:
    """Check that a method keeps Taskfold's promises for every method, on the given networks.

    `isolation`: the backbone and other tasks never move. `learning`: every leaf of a task learns.
    `factors`: a factorisation makes the same weight in every form, and its gradients are slopes. `folding`: the
    fold is the task, or it is refused by name. `file`: a task's file restores the task. `counts`: counts agree with the
    leaves. `mixed`, `gradients`, `bank`, `threads`: tasks in one batch, on one batch (in value, gradient and
    running statistics), in a bank and in threads give the outputs that they give alone.

    Where the laws compare two tensors, two tasks differ there by 100 tolerances or more.

    Args:
        method: the method.
        networks: functions by name that build small networks with random weights.
        inputs: a number of rows → a batch of that size, always the same; default: images `[rows, 3, 32, 32]`.
        num_features: the width of the networks' features, as for `MultiTask`.
        laws: the laws to check, from `LAWS`.
        seed: the seed of the networks' weights and of the tasks.

    Raises:
        AssertionError: a law is broken; the message has law, method, network, place and value found.
        ValueError: a law is unknown, or there are no networks.

    Example:
        >>> from torch import nn
        >>> import taskfold as tfold
        >>> def small() -> nn.Module:
        ...     return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8))
        >>> check_method(
        ...     tfold.LoRA(rank=2, layers="linear"),
        ...     {"small": small},
        ...     inputs=lambda rows: torch.linspace(-1, 1, 4 * rows).sin().reshape(rows, 4),
        ...     num_features=8,
        ... )
    """
    if odd := [law for law in laws if law not in _LAWS]:
        raise ValueError(f"law {odd[0]!r} is not known; laws: {', '.join(LAWS)}")
    if not networks:
        raise ValueError("networks is empty; give at least one, as {name: what builds it}")
    for name, build in networks.items():
        subject = Subject(method, name, build, inputs, num_features)
        for law in laws:
            judge(law, subject, seed)


def judge(law: str, subject: Subject, seed: int = 0) -> None:
    """Check one law.

    Raises:
        AssertionError: it is broken.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            _LAWS[law](subject)
        except AssertionError as error:
            settings = {key: value for key, value in subject.method.as_json()["settings"].items() if value is not None}
            raise AssertionError(
                f"law {law!r}, method {subject.method.name!r} {settings}, network {subject.network!r}: {error}"
            ) from error
