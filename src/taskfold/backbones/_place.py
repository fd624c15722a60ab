from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ._loaded import BackboneError, Request, extra


@dataclass(frozen=True)
class Place:
    """The place of a Hugging Face model's configuration, weights and tokenizer.

    Attributes:
        name: a folder, or a name on the hub.
        is_folder: whether it is a folder.
        options: further arguments of `from_pretrained`.
    """

    name: str
    is_folder: bool = False
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, request: Request) -> Place:
        """The place in a request.

        Raises:
            BackboneError: there is no such folder, or it holds several GGUF files and no config.json.
        """
        folder = request.base / Path(request.name).expanduser()
        if not folder.is_dir():
            if request.name.startswith((".", "/", "~")):
                raise BackboneError(f"backbone 'hf:{request.name}': there is no folder {str(folder)!r}")
            return cls(request.name)
        quantised = sorted(file.name for file in folder.glob("*.gguf"))
        if not quantised or (folder / "config.json").is_file():
            return cls(str(folder), True)
        if len(quantised) > 1:
            raise BackboneError(
                f"backbone 'hf:{request.name}': the folder must hold a config.json or one GGUF file, "
                f"found {', '.join(quantised)}; leave one of them there"
            )
        extra("gguf", "text")
        return cls(str(folder), True, {"gguf_file": quantised[0]})
