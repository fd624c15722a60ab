"""A dense task's kind of output and its preprocessing, which the task file keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from .. import Task
from ..config import AugmentSettings
from ..dense import KINDS, Augment, DenseSet, DenseTensors, Kind
from ..dense.resize import Size
from ._output import UserError

Channels = tuple[float, float, float]
NAME = "dense"


@dataclass(frozen=True)
class Seen:
    """The kind of output and the preprocessing of a dense task.

    Attributes:
        kind: the kind of target.
        size: height and width that images are resized to; None: their own.
        mean, std: for normalisation.
    """

    kind: Kind
    size: Size | None
    mean: Channels
    std: Channels

    @classmethod
    def checked(cls, kind: Kind, *, size: Any, mean: Any, std: Any) -> Self:
        return cls(kind, size and tuple(size), tuple(mean), tuple(std))

    @classmethod
    def of(cls, information: Mapping[str, Any], name: str) -> Self:
        """Read from a task file's information."""
        try:
            settings = {key: _tupled(value) for key, value in information["settings"].items()}
            said = {key: information[key] for key in ("size", "mean", "std")}
            return cls.checked(KINDS[information["target"]](**settings), **said)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f"task {name!r}: what it says of its targets cannot be used here ({error}); it was saved by another "
                "version of taskfold, or by hand"
            ) from None

    @classmethod
    def of_task(cls, task: Task) -> Self:
        """Read from a task of a model."""
        return cls.of(task.info.preprocessing, task.name)

    @property
    def information(self) -> dict[str, Any]:
        """The JSON for a task file."""
        settings = {key: _listed(value) for key, value in asdict(self.kind).items()}  # type: ignore[call-overload]
        size = self.size and list(self.size)
        said = {"size": size, "mean": list(self.mean), "std": list(self.std)}
        return {"kind": NAME, "target": self.kind.name, "settings": settings, **said}

    @property
    def labels(self) -> tuple[str, ...]:
        """The class names, if there are any."""
        return tuple(self.information["settings"].get("labels", ()))

    def tensors(self, samples: DenseSet, augment: AugmentSettings | None = None, seed: int = 0) -> DenseTensors:
        """Samples for a network; `augment` adds random views."""
        return DenseTensors(samples, self._views(augment), self.size, self.mean, self.std, seed)

    def _views(self, augment: AugmentSettings | None) -> Augment | None:
        # Normalisation makes the padding 0.
        return None if augment is None else Augment(**dict(augment), fill=self.mean)


def _tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
