"""What a method is: settings, the composition they make on a network, and what it adds to a training."""

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
from ._phases import Phase, check_phases


@dataclasses.dataclass(frozen=True)
class Method(ABC):
    """Factorisation × sharing × where × extras, by name and settings. Fields are the settings.

    Args:
        frozen_stages: the first stages of the network, and what comes before them, stay as they are in every task:
            tasks on one batch (`broadcast=True`) run them once between them. A ResNet's are `layer1` to `layer4`, a
            transformer's its blocks.
        own: shell patterns over names of the network's tensors (`classifier.*`) that the task has copies of, which
            train whole beside the rest; `!pattern` leaves some out. They replace the backbone's in that task alone.
    """

    frozen_stages: int = dataclasses.field(default=0, kw_only=True)
    own: Patterns | None = dataclasses.field(default=None, kw_only=True)
    name: ClassVar[str]
    from_the_start: ClassVar[str] = ""
    """Why no stage can stay as it is; empty: stages can."""
    prepare_batch: ClassVar[int | None] = None
    """Samples in a batch of `prepare`; None: as many as the training has."""

    @property
    def parts(self) -> tuple[object, ...]:
        """What of the composition does not depend on a network; built at construction, so that it is checked there."""
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
        """The parts of this method on that network."""

    def composition(self, network: nn.Module) -> Composition:
        """The parts of this method on that network, with the tensors of the task's own that `own` names."""
        composed = self.compose(network)
        return composed if self.own is None else Composition((*composed.recipes, OwnTensors(names=self.own)))

    # Hooks: what a method may add to a training. Nothing by default.

    @property
    def phases(self) -> tuple[Phase, ...]:
        """Which groups train when; empty: all in every epoch. The `phases` of a training's settings overrule."""
        return ()

    def penalty(self, task: Task, progress: float) -> Tensor | None:
        """What a training adds to the loss of a task, once per step in which the task has samples in the batch.

        Args:
            task: one that this method made; the penalty reads its parameters, buffers and inventory.
            progress: steps done over all steps, from 0 to less than 1; 1 when the final weights are judged.

        Returns:
            A scalar `[]` with gradient, or None.
        """
        return None

    def penalty_between(self, task: Task, others: Sequence[Task], progress: float) -> Tensor | None:
        """The same for what a task has to do with others: added to its penalty.

        Args:
            task: one that this method made.
            others: those of the same training that methods of the same class made, in order.
            progress: as for `penalty`.

        Returns:
            A scalar `[]` with gradient, or None.
        """
        return None

    def prepare(  # noqa: B027  a hook, not an omission
        self, task: Task, batches: Iterable[Any], score: Callable[[Any], Tensor]
    ) -> None:
        """A pass over the training data before the first step, to choose or start what trains.

        What it writes, in place, into the task's parameters, buffers and trained inventory is kept. It may register
        nothing new, and write to nothing else.

        Args:
            task: one that this method made.
            batches: the task's training batches in a fixed order, without augmentation where the training was given
                plain data. They begin anew each time that they are iterated over.
            score: batch → `[n]`, the losses of those n ≥ 0 samples that have a target for the task, with gradients, in
                evaluation mode.
        """

    def stepped(self, task: Task) -> None:  # noqa: B027  a hook, not an omission
        """After each step of the optimisers, while the gradients are there: what no gradient moves (a multiplier, say).

        What it writes, in place, into the task's buffers is kept. It may write to nothing else, and must come to the
        same numbers in every process.

        Args:
            task: one that this method made; a parameter without a gradient had no part in the step.
        """

    def over_budget(self, task: Task) -> float:
        """By how much a task is above what its method allows; 0: it is within.

        A training keeps no epoch above its budget where there is one within.

        Args:
            task: one that this method made.
        """
        return 0.0

    def rank_allocator(self, task: Task, backbone: nn.Module) -> Allocator | None:
        """What brings the ranks, or the entries, of a task down while it trains; None: they stay as they are.

        Args:
            task: one that this method made.
            backbone: the network that it was made for.
        """
        return None

    def stored(self) -> Self:
        """The method with which a task's file is read, where parts are kept in another form than they train in."""
        return self

    def with_settings(self, **settings: Any) -> Self:
        """The same method with some settings changed.

        Raises:
            ValueError: a setting does not exist.
        """
        known = [field.name for field in sorted(dataclasses.fields(self), key=lambda field: field.kw_only is True)]
        for key in settings:
            if key not in known:
                raise ValueError(f"method {self.name!r} has no setting {key!r}; settings: {', '.join(known) or 'none'}")
        return dataclasses.replace(self, **settings)

    def as_json(self) -> dict[str, Any]:
        """`{"name": …, "settings": {…}}`: all that `build` needs."""
        return {"name": self.name, "settings": dataclasses.asdict(self)}


def _is_patterns(value: object) -> bool:
    each = value if isinstance(value, Sequence) else [value]
    return bool(each) and all(isinstance(one, str) for one in each)


_REGISTRY: dict[str, type[Method]] = {}
"""The package's own methods, by name."""


def register(namespace: Mapping[str, object]) -> list[str]:
    """Make the methods of a namespace known by name; what they are called there, sorted."""
    found = {key: kind for key, kind in namespace.items() if isinstance(kind, type) and issubclass(kind, Method)}
    named = {key: kind for key, kind in found.items() if "name" in kind.__dict__}
    for kind in named.values():
        if _REGISTRY.setdefault(kind.name, kind) is not kind:
            other = _REGISTRY[kind.name].__name__
            raise ValueError(f"method name {kind.name!r} of {kind.__name__} is {other}'s already; change one of them")
    return sorted(named)


def names() -> list[str]:
    """The names of all methods, sorted: the package's, and those defined elsewhere as subclasses with a `name`.

    Example:
        >>> "ftn" in names()
        True
    """
    return sorted(_REGISTRY.keys() | _elsewhere())


def build(name: str, settings: Mapping[str, Any] | None = None) -> Method:
    """A method from its name and settings.

    Args:
        name: one of `names()`.
        settings: the method's own, those that differ from its defaults; lists become tuples.

    Raises:
        ValueError: no such method or setting, or a method defined elsewhere has taken the name of one of the package's.

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
        ValueError: no such method or setting: its class has not been imported, or is another by now.
    """
    try:
        return build(task.method["name"], task.method["settings"])
    except ValueError as error:
        raise ValueError(
            f"the method that made task {task.name!r} cannot be built: {error}; import the module that defines it"
        ) from None


def _elsewhere() -> dict[str, type[Method]]:
    """Methods that users define, by name; a later definition replaces an earlier one, as in a notebook."""
    found: dict[str, type[Method]] = {}
    kinds: list[type[Method]] = [Method]
    while kinds:
        kinds += (below := kinds.pop().__subclasses__())
        others = [kind for kind in below if not kind.__module__.startswith(f"{__package__}.")]
        found |= {kind.name: kind for kind in others if "name" in kind.__dict__}
    return found
