"""Text files that people write: lists, tables, lines."""

from __future__ import annotations

from pathlib import Path


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, without a byte order mark; lines end with a newline.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file has another encoding, or a NUL character; the message names the place.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: not UTF-8 text: {error.reason} at byte {error.start}; save it as UTF-8 (Excel: CSV UTF-8)"
        ) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ValueError(f"{path}, line {line}: text has a NUL character; leave it out")
    return text
