"""The interface of methods: settings, the parts that they make on a network, and hooks of a training."""

from __future__ import annotations

import dataclasses
import difflib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from ..factors import check_whole
from ..kinds import Patterns
from ..layers import Composition, OwnTensors, check_statistics
from ..tasks import Task
from ._allocator import Allocator
from ._names import check_by_layer
from ._phases import Phase, check_phases


@dataclasses.dataclass(frozen=True)
class Method(ABC):
    """A method: factorisation × sharing × where × extras. Its fields are its settings.

    Args:
        frozen_stages: the first stages of the network, and the layers before them, are the backbone's in every task:
            tasks on one batch (`broadcast=True`) run them once between them. A ResNet's are `layer1` to `layer4`, a
            transformer's its blocks.
        own: shell patterns over names of the network's tensors (`classifier.*`). The task has copies of these, which
            all train; `!pattern` leaves some out. They replace the backbone's in that task alone.
    """

    frozen_stages: int = dataclasses.field(default=0, kw_only=True)
    own: Patterns | None = dataclasses.field(default=None, kw_only=True)
    name: ClassVar[str]
    from_the_start: ClassVar[str] = ""
    """Why no stage can be frozen; empty: stages can."""
    prepare_batch: ClassVar[int | None] = None
    """Samples in a batch of `prepare`; None: the training's batch size."""

    @property
    def parts(self) -> tuple[object, ...]:
        """Builds the parts that do not depend on a network; called at construction, to check the settings."""
        return ()

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value, kind = getattr(self, field.name), str(field.type)
            if kind == "bool" and not isinstance(value, bool):
                raise ValueError(f"{field.name} must be true or false, found {value!r}")
            if field.name == "frozen_stages":
                check_whole("frozen_stages", value, 0)
            if field.name == "frozen_stages" and value and self.from_the_start:
                raise ValueError(f"frozen_stages must be 0, found {value}: {self.from_the_start}")
            if kind.startswith("Statistics") and not (value is None and kind.endswith("None")):
                check_statistics(value)
            if (
                kind.startswith("Patterns")
                and not (value is None and kind.endswith("None"))
                and not _is_patterns(value)
            ):
                raise ValueError(f"{field.name} must be a pattern of layer names or a list of them, found {value!r}")
        _ = self.parts
        check_phases(self.phases, f"phases of method {getattr(self, 'name', type(self).__name__)!r}")

    @abstractmethod
    def compose(self, network: nn.Module) -> Composition:
        """The parts of this method on a network."""

    def composition(self, network: nn.Module) -> Composition:
        """The parts of this method on a network, with copies of the tensors that `own` names.

        Raises:
            ValueError: a number by layer is for no layer of the network.
        """
        check_by_layer(self, network)
        composed = self.compose(network)
        return composed if self.own is None else Composition((*composed.recipes, OwnTensors(names=self.own)))

    # Hooks: additions to a training. By default they do nothing.

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The phases of a training, unless its settings have `phases`; empty: all groups train in every epoch."""
        return ()

    def penalty(self, task: Task, progress: float) -> Tensor | None:
        """The penalty on a task's loss, added in each step in which the task has samples in the batch.

        Args:
            task: a task of this method; the penalty reads its parameters, buffers and inventory.
            progress: steps done over all steps, from 0 to less than 1; 1 when the final weights are judged.

        Returns:
            A scalar `[]` with gradient, or None.
        """
        return None

    def penalty_between(self, task: Task, others: Sequence[Task], progress: float) -> Tensor | None:
        """The part of a task's penalty that depends on other tasks.

        Args:
            task: a task of this method.
            others: the training's other tasks of methods of the same class, in order.
            progress: as for `penalty`.

        Returns:
            A scalar `[]` with gradient, or None.
        """
        return None

    def prepare(  # noqa: B027  a hook, not an omission
        self, task: Task, batches: Iterable[Any], score: Callable[[Any], Tensor]
    ) -> None:
        """Look at the training data before the first step, to choose or initialise parameters.

        It may write, in place, into the task's parameters, buffers and trained inventory. It may register
        nothing new, and write to nothing else.

        Args:
            task: a task of this method.
            batches: the task's training batches in a fixed order, without augmentation if the training has
                plain data. Each iteration starts from the first.
            score: batch → `[n]`, the losses of the n ≥ 0 samples with a target for the task, with gradients, in
                evaluation mode.
        """

    def stepped(self, task: Task) -> None:  # noqa: B027  a hook, not an omission
        """Update after each step of the optimisers what no gradient moves, such as a multiplier.

        Gradients are still there. It may write, in place, into the task's buffers only, and must compute the
        same numbers in every process.

        Args:
            task: a task of this method; a parameter without a gradient had no part in the step.
        """

    def over_budget(self, task: Task) -> float:
        """The excess of a task over its method's budget; 0: it is within.

        A training prefers epochs within the budget.

        Args:
            task: a task of this method.
        """
        return 0.0

    def rank_allocator(self, task: Task, backbone: nn.Module) -> Allocator | None:
        """The allocator that reduces a task's ranks, or entries, while it trains; None: they are fixed.

        Args:
            task: a task of this method.
            backbone: the task's backbone.
        """
        return None

    def stored(self) -> Self:
        """The method that reads a task's file, if parts are stored in another form than they train in."""
        return self

    def with_settings(self, **settings: Any) -> Self:
        """This method with some settings changed.

        Raises:
            ValueError: a setting does not exist.
        """
        known = [field.name for field in sorted(dataclasses.fields(self), key=lambda field: field.kw_only is True)]
        for key in settings:
            if key not in known:
                raise ValueError(f"method {self.name!r} has no setting {key!r}; settings: {', '.join(known) or 'none'}")
        return dataclasses.replace(self, **settings)

    def as_json(self) -> dict[str, Any]:
        """`{"name": …, "settings": {…}}`, the arguments of `build`."""
        return {"name": self.name, "settings": dataclasses.asdict(self)}


def _is_patterns(value: object) -> bool:
    each = value if isinstance(value, Sequence) else [value]
    return bool(each) and all(isinstance(one, str) for one in each)


_REGISTRY: dict[str, type[Method]] = {}
"""The package's own methods, by name."""


def register(namespace: Mapping[str, object]) -> list[str]:
    """Register the methods of a namespace by name; returns the namespace's names of them, sorted."""
    found = {key: kind for key, kind in namespace.items() if isinstance(kind, type) and issubclass(kind, Method)}
    named = {key: kind for key, kind in found.items() if "name" in kind.__dict__}
    for kind in named.values():
        if _REGISTRY.setdefault(kind.name, kind) is not kind:
            other = _REGISTRY[kind.name].__name__
            raise ValueError(f"method name {kind.name!r} of {kind.__name__} is {other}'s already; change one of them")
    return sorted(named)


def names() -> list[str]:
    """The names of all methods, sorted: the package's, and those of users' subclasses with a `name`.

    Example:
        >>> "ftn" in names()
        True
    """
    return sorted(_REGISTRY.keys() | _elsewhere())


def build(name: str, settings: Mapping[str, Any] | None = None) -> Method:
    """A method from its name and settings.

    Args:
        name: one of `names()`.
        settings: the settings that differ from the method's defaults; lists become tuples.

    Raises:
        ValueError: there is no such method or setting, or a user's method has the name of one of the package's.

    Example:
        >>> build("ftn", {"rank": 4}).as_json()["settings"]["rank"]
        4
    """
    elsewhere = _elsewhere()
    if name in _REGISTRY and name in elsewhere:
        where = f"{elsewhere[name].__module__}.{elsewhere[name].__qualname__}"
        raise ValueError(f"method name {name!r} is {_REGISTRY[name].__name__}'s; give {where} another")
    known = elsewhere | _REGISTRY
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"method {name!r} is not known; choose one of {', '.join(sorted(known))}{hint}")
    plain = {key: tuple(v) if isinstance(v, list) else v for key, v in (settings or {}).items()}
    return known[name]().with_settings(**plain)


def method_of(task: Task) -> Method:
    """The method that made a task, with its settings.

    Raises:
        ValueError: there is no such method or setting: its class was not imported, or has changed.
    """
    try:
        return build(task.method["name"], task.method["settings"])
    except ValueError as error:
        raise ValueError(
            f"the method that made task {task.name!r} cannot be built: {error}; import the module that defines it"
        ) from None


def _elsewhere() -> dict[str, type[Method]]:
    """Users' methods by name; a later definition replaces an earlier one, as in a notebook."""
    found: dict[str, type[Method]] = {}
    kinds: list[type[Method]] = [Method]
    while kinds:
        kinds += (below := kinds.pop().__subclasses__())
        others = [kind for kind in below if not kind.__module__.startswith(f"{__package__}.")]
        found |= {kind.name: kind for kind in others if "name" in kind.__dict__}
    return found
