"""Images with targets and several methods' predictions side by side, as a part of a results document."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from ._parts import Name, Part, Png, Text

Colour = Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$")]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Ends = tuple[Finite, Finite]


class Picture(Part):
    """A base64 PNG with a few words below it (its score), or only words (why there is no picture).

    In JSON a bare string stands for the PNG, null for nothing.
    """

    image: Png | None = None
    text: Text = ""

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, value: Any) -> Any:
        if value is None:
            return {}
        return {"image": value} if isinstance(value, str) else value


class ClassColour(Part):
    """The meaning of a colour (#rrggbb) in a class map."""

    name: Name
    colour: Colour


class ColourBar(Part):
    """Colours from the low end to the high one, and the numbers there (``ends``, unless each view has its own).

    The colours (#rrggbb) are evenly spaced, and blend into each other.
    """

    colours: Annotated[tuple[Colour, ...], Field(min_length=2)]
    unit: Text = ""
    ends: Ends | None = None


class Legend(Part):
    """The meaning of a task's pictures: classes, a colour bar, a picture (a sphere's normals), words, or nothing."""

    task: Name
    classes: tuple[ClassColour, ...] = ()
    bar: ColourBar | None = None
    picture: Png | None = None
    text: Text = ""


class View(Part):
    """One image in one task: its target and the methods' predictions; ``ends``: of the colour bar, in this view."""

    task: Name
    target: Picture = Picture()
    predictions: dict[Name, Picture] = Field(default_factory=dict)
    ends: Ends | None = None


class Scene(Part):
    """One image and its views."""

    name: Name
    image: Png
    views: Annotated[tuple[View, ...], Field(min_length=1)]


class Scenes(Part):
    """Images × tasks in rows; image, target and each of ``methods`` in columns, in the given order.

    A method that a view lacks has an empty cell with a remark. Every task has a legend, perhaps an empty one.
    """

    title: Name = "Predictions beside targets"
    note: Text = ""
    methods: tuple[Name, ...] = ()
    legends: Annotated[tuple[Legend, ...], Field(min_length=1)]
    images: Annotated[tuple[Scene, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _known(self) -> Scenes:
        tasks = [legend.task for legend in self.legends]
        for what, names in (("methods", list(self.methods)), ("the tasks of legends", tasks)):
            if len(set(names)) < len(names):
                raise ValueError(f"{what} must differ, found {', '.join(names)}")
        bars = {legend.task: legend.bar for legend in self.legends}
        for index, scene in enumerate(self.images):
            for place, view in enumerate(scene.views):
                key = f"images[{index}].views[{place}]"
                if view.task not in tasks:
                    raise ValueError(f"{key}.task: {view.task!r} has no legend (there are {', '.join(tasks)})")
                if view.task in [other.task for other in scene.views[:place]]:
                    raise ValueError(f"{key}.task: {view.task!r} is there twice")
                if view.ends is not None and bars[view.task] is None:
                    raise ValueError(f"{key}.ends: the legend of {view.task!r} has no bar to which they could belong")
                if unknown := [name for name in view.predictions if name not in self.methods]:
                    listed = ", ".join(self.methods) or "none"
                    raise ValueError(f"{key}.predictions: {unknown[0]!r} is not among the methods ({listed})")
        return self

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks, in the legends' order."""
        return tuple(legend.task for legend in self.legends)
