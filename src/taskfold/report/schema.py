"""The results document, version 1: the results of a run, for its report.

Accuracies are fractions between 0 and 1, times seconds, sizes bytes, parameters counts of numbers.
Unknown keys are refused, so that a misspelt one is not silently ignored.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from ..files import BESIDE, bits_beside
from ._affinities import AffinityMap, AffinityMatrix
from ._parts import Count, Fraction, Name, Part, Png, Seconds, Text, png_size
from ._routings import Histogram, RoutedLayer, Routing
from ._scenes import ClassColour, ColourBar, Legend, Picture, Scene, Scenes, View
from ._studies import Comparison, ComparisonColumn, ComparisonRow, Measure, Series, Study

__all__ = [
    "AffinityMap",
    "AffinityMatrix",
    "Backbone",
    "ClassColour",
    "ColourBar",
    "Comparison",
    "ComparisonColumn",
    "ComparisonRow",
    "CurvePoint",
    "Histogram",
    "Isolation",
    "LayerChange",
    "Legend",
    "Measure",
    "MixedBatch",
    "Name",
    "Part",
    "Picture",
    "Prediction",
    "Results",
    "RoutedLayer",
    "Routing",
    "Run",
    "Scene",
    "Scenes",
    "Series",
    "Study",
    "Task",
    "Text",
    "View",
]

VERSION = 1


def _fractions(metrics: dict[str, float]) -> dict[str, float]:
    for name, value in metrics.items():
        if name.endswith("accuracy") and not 0 <= value <= 1:
            raise ValueError(f"{name} must be a fraction between 0 and 1, found {value}")
    return metrics


class Backbone(Part):
    """The frozen network: its name, its number of parameters and its size in bytes."""

    name: Name
    parameters: Annotated[int, Field(gt=0)]
    bytes: Count | None = None


class Task(Part):
    """One task's data: source, classes, images per split, and what was skipped or repaired."""

    name: Name
    source: Text = ""
    labels: tuple[Text, ...] = ()
    train: Count | None = None
    val: Count | None = None
    test: Count | None = None
    notes: tuple[Text, ...] = ()


class CurvePoint(Part):
    """The state of a training after ``epoch`` passes over the data, perhaps fractional.

    ``penalty`` is the method's addition to the loss, if there is one.
    """

    epoch: float
    step: Count | None = None
    train_loss: float | None = None
    penalty: float | None = None
    val_loss: float | None = None
    val_accuracy: Fraction | None = None


class LayerChange(Part):
    """‖ΔW‖/‖W‖, Frobenius norms, of one adapted layer."""

    layer: Name
    ratio: float | None


class Prediction(Part):
    """A test image as base64 PNG, its class, and the predicted class with its probability."""

    image: Png
    target: Text
    predicted: Text
    confidence: Fraction | None = None

    @property
    def width(self) -> int:
        """Width of the image in pixels, read from the PNG header."""
        return png_size(self.image)[0]


class Run(Part):
    """One training of one method on one task with one seed.

    ``label`` names the method with its settings ("FTN R=4") and is one row of the tables. ``parameters`` counts the
    task's own numbers, by group; ``head``, ``bits`` (of masks) and ``indices`` (of sparse values) are special. A run
    that did not finish has the reason in ``failed``; any other has ``metrics["test_accuracy"]``.
    """

    task: Name
    method: Name
    label: Name
    settings: dict[str, Any] = Field(default_factory=dict)
    seed: int = 0
    metrics: Annotated[dict[str, float], AfterValidator(_fractions)] = Field(default_factory=dict)
    parameters: dict[str, Count] = Field(default_factory=dict)
    bytes: Count | None = None
    seconds: Seconds | None = None
    failed: Annotated[Text, Field(min_length=1)] | None = None
    curve: tuple[CurvePoint, ...] = ()
    layers: tuple[LayerChange, ...] = ()
    predictions: tuple[Prediction, ...] = ()

    @model_validator(mode="after")
    def _measured_or_failed(self) -> Run:
        if self.failed is None and "test_accuracy" not in self.metrics:
            raise ValueError("metrics.test_accuracy is missing; a run without it must say why in 'failed'")
        return self

    @property
    def accuracy(self) -> float | None:
        """Test accuracy, or None for a failed run."""
        return self.metrics["test_accuracy"] if self.failed is None else None

    @property
    def head(self) -> int | None:
        """Parameters of the task's head; None: not counted."""
        return self.parameters.get("head")

    @property
    def adapter(self) -> int | None:
        """Parameters of the task without its head; None: not counted."""
        held = self.parameters
        return sum(held[kind] for kind in held.keys() - {"head", *BESIDE}) if held else None

    @property
    def bits(self) -> int | None:
        """Bits besides numbers: of masks, and 32 for each index of a sparse value."""
        return bits_beside(self.parameters) if self.parameters else None

    @property
    def rank(self) -> float | None:
        """``settings["rank"]``, if it is one positive number."""
        rank = self.settings.get("rank")
        if isinstance(rank, int | float) and not isinstance(rank, bool) and rank > 0:
            return float(rank)
        return None


class Confusion(Part):
    """Test images of a task, ``cells[true][predicted]``, in the order of ``labels``."""

    task: Name
    labels: tuple[Text, ...]
    cells: tuple[tuple[Count, ...], ...]

    @model_validator(mode="after")
    def _square(self) -> Confusion:
        if {len(self.cells), *map(len, self.cells)} != {len(self.labels)}:
            raise ValueError(
                f"cells of task {self.task!r} must have a row and a column for each of {len(self.labels)} labels"
            )
        return self


class Isolation(Part):
    """Digests of one task's outputs before and after later tasks were trained."""

    task: Name
    before: Name
    after: Name
    identical: bool
    what: Text = ""

    @model_validator(mode="after")
    def _honest(self) -> Isolation:
        if self.identical != (self.before == self.after):
            raise ValueError(f"identical is {self.identical}, yet before {self.before!r} and after {self.after!r}")
        return self


class MixedBatch(Part):
    """A batch of several tasks compared with the tasks run one by one; ``agreement``: share of equal classes."""

    tasks: tuple[Name, ...]
    rows: Count
    agreement: Fraction
    max_abs_difference: Annotated[float, Field(ge=0)]
    seconds: Seconds | None = None
    process: Text = ""


class Results(Part):
    """The whole document: trainings of single tasks (``runs``), other tables and lines, routings.

    ``conclusion`` is the first sentence, if the program that wrote the document has one.
    ``scenes`` are images with targets and predictions side by side. Packages add keys (`taskfold.report.additions`).
    """

    version: Literal[1]
    title: Name
    command: Text = ""
    conclusion: Text = ""
    seconds: Seconds | None = None
    environment: dict[str, Any] = Field(default_factory=dict)
    backbone: Backbone
    tasks: Annotated[tuple[Task, ...], Field(min_length=1)]
    runs: tuple[Run, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    studies: tuple[Study, ...] = ()
    affinity: tuple[AffinityMap, ...] = ()
    routing: tuple[Routing, ...] = ()
    scenes: tuple[Scenes, ...] = ()
    confusions: tuple[Confusion, ...] = ()
    isolation: tuple[Isolation, ...] = ()
    mixed_batch: MixedBatch | None = None
