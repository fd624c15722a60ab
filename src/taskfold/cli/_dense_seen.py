"""What a dense task says of an image, and how the image is made ready for it: what its file keeps."""

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
    """One kind of target.

    Attributes:
        kind: what is said of every pixel.
        size: height and width that images are resized to; None: as they are.
        mean, std: that they are normalised with.
    """

    kind: Kind
    size: Size | None
    mean: Channels
    std: Channels

    @classmethod
    def checked(cls, kind: Kind, *, size: Any, mean: Any, std: Any) -> Self:
        """From sequences."""
        return cls(kind, size and tuple(size), tuple(mean), tuple(std))

    @classmethod
    def of(cls, information: Mapping[str, Any], name: str) -> Self:
        """As a task file says."""
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
        """As the file of a task said that a model has."""
        return cls.of(task.info.preprocessing, task.name)

    @property
    def information(self) -> dict[str, Any]:
        """What a task file keeps; JSON."""
        settings = {key: _listed(value) for key, value in asdict(self.kind).items()}  # type: ignore[call-overload]
        size = self.size and list(self.size)
        said = {"size": size, "mean": list(self.mean), "std": list(self.std)}
        return {"kind": NAME, "target": self.kind.name, "settings": settings, **said}

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of classes, if it has any."""
        return tuple(self.information["settings"].get("labels", ()))

    def tensors(self, samples: DenseSet, augment: AugmentSettings | None = None, seed: int = 0) -> DenseTensors:
        """Samples for a network; with random views of them if `augment` says how."""
        return DenseTensors(samples, self._views(augment), self.size, self.mean, self.std, seed)

    def _views(self, augment: AugmentSettings | None) -> Augment | None:
        # Padding is what normalisation makes 0.
        return None if augment is None else Augment(**dict(augment), fill=self.mean)


def _tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
