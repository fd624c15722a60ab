"""Readers of texts: a tokenizer with settings, which a task file keeps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pydantic import ValidationError

from .. import MultiTask, Task
from ..backbones import LoadedBackbone
from ..text import Collator, Example, generate
from ..text.configured import TextSettings
from ._output import UserError

READING = ("max_input", "max_target", "cut", "length_normalised", "num_beams")
"""The settings that use a task; the others belong to its training."""


@dataclass(frozen=True)
class Reader:
    """A tokenizer with its settings."""

    tokenizer: Any
    causal: bool
    start_token: int | None
    settings: TextSettings
    prompt: str = "{text}"

    @classmethod
    def of(cls, loaded: LoadedBackbone, settings: TextSettings, prompt: str = "{text}") -> Reader:
        """For a backbone."""
        if loaded.tokenizer is None or loaded.generative is None:
            lacks = "tokenizer" if loaded.tokenizer is None else "language head"
            raise UserError(
                f"{loaded.name} has no {lacks} that is known of; tasks of texts need a language model: hf:NAME, "
                "or a function that returns a LoadedBackbone with tokenizer and generative"
            )
        start = getattr(getattr(loaded.network, "config", None), "decoder_start_token_id", None)
        return cls(made(loaded.tokenizer), loaded.generative == "causal", start, settings, prompt)

    @classmethod
    def of_task(cls, task: Task, loaded: LoadedBackbone) -> Reader:
        """For a saved task, with the settings of its training."""
        said = {key: value for key, value in task.info.preprocessing.items() if key not in ("kind", "prompt")}
        try:
            settings = TextSettings.model_validate(said)
        except ValidationError as error:
            first = error.errors()[0]
            raise UserError(
                f"task {task.name!r}: {'.'.join(map(str, first['loc']))}: {first['msg']}; it was saved by another "
                "version of taskfold, or by hand"
            ) from None
        return cls.of(loaded, settings, task.info.preprocessing.get("prompt", "{text}"))

    @property
    def information(self) -> dict[str, Any]:
        """The JSON for a task file."""
        return {"kind": "texts", **self.settings.model_dump(mode="json", include=set(READING)), "prompt": self.prompt}

    def collator(self, choices: bool) -> Collator:
        """A function from examples to batches."""
        return self.settings.collator(self.tokenizer, causal=self.causal, choices=choices, start_token=self.start_token)

    def write(self, model: MultiTask, names: str | Sequence[str], asked: Sequence[Example], size: int) -> list[str]:
        """The texts that tasks generate for inputs."""
        beams, longest = self.settings.num_beams, self.settings.max_target
        return generate(
            model, names, asked, self.collator(False), batch_size=size, num_beams=beams, max_new_tokens=longest
        )


@lru_cache(maxsize=4)
def made(tokenizer: Callable[[], Any]) -> Any:
    """A cached tokenizer, since many tasks share one."""
    return tokenizer()
