"""Words of one language as the source of a text task: `{kind: lemmas, language: nl}`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt

from taskfold.text.configured import TextData, TextSource

from . import lemmas


class Lemmas(TextSource):
    """Word form → dictionary form in one language (package simplemma); split by lemma. See `lemmas`.

    Attributes:
        language: as simplemma calls it, `de`.
        train_size, val_size, test_size: examples of each part.
        choices: for each test example, the right one among them.
        max_bytes: of a word form.
    """

    kind: Literal["lemmas"] = "lemmas"
    language: str
    train_size: PositiveInt = 1000
    val_size: PositiveInt = 100
    test_size: PositiveInt = 200
    choices: int = Field(default=4, ge=2)
    max_bytes: PositiveInt = 24

    @property
    def origin(self) -> str:
        """`lemmas:nl`."""
        return f"lemmas:{self.language}"

    def load(self, name: str, seed: int = 0) -> TextData:
        """Training words by seed; those of validation and test are the same for every seed."""
        sizes = {"train": self.train_size, "val": self.val_size, "test": self.test_size}
        task = lemmas.lemma_task(self.language, **sizes, seed=seed, max_bytes=self.max_bytes)
        parts = (task.examples("train", self.choices), task.examples("val", self.choices))
        return TextData(name, *parts, task.examples("test", self.choices), prompt=f"{lemmas.MARK}{{text}}")
