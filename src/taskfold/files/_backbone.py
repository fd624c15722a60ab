"""The backbone that a file belongs to, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PUBLISHED = "published"
"""The mark of weights that the network's library downloads by its name."""


def source_words(backbone: Mapping[str, Any]) -> str:
    """A header's backbone, in words: what to load."""
    types, input_size = "/".join(backbone["types"]) or "no floating type", _input_size(backbone)
    made = f"{backbone['class']} in {types}"
    said = [f"{backbone['source']} ({made})" if backbone.get("source") else made]
    if (weights := backbone.get("weights")) is not None:
        said.append("published weights" if weights == PUBLISHED else f"weights {weights}")
    said += [f"inputs {input_size}"] * bool(input_size)
    said.append(f"fingerprint {backbone['fingerprint'][:12]}…")
    if (how := backbone.get("quantised")) is not None:
        said.append(f"quantised by {how['recipe']!r} into {how['fingerprint'][:12]}…")
    return ", ".join(said)


def _input_size(backbone: Mapping[str, Any]) -> str:
    return " × ".join(map(str, (backbone.get("preprocessing") or {}).get("input_size") or ()))
