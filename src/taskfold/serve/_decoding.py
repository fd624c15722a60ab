"""Decodes callers' bytes as pictures and texts. A failure is the caller's error."""

from __future__ import annotations

import io
import warnings
from functools import lru_cache

from PIL import Image

from ..data import image_suffixes, to_rgb
from ._errors import InputError, ServeError, TooLargeError
from ._limits import Limits
from ._reading import Given


@lru_cache
def formats() -> tuple[str, ...]:
    """The formats of image files, sorted once and not for every request."""
    return tuple(sorted({*image_suffixes().values()}))


def picture(data: bytes, limits: Limits, where: str) -> Given:
    """The picture of an image file; its size is checked before its pixels are decoded."""
    if not data:
        raise InputError(f"{where} is empty; send the bytes of an image file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=formats())
        limits.check(f"pixels of {where}", image.width * image.height, "pixels")
        image.load()
        return Given("image", to_rgb(image))
    except ServeError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooLargeError(f"{where}: {error}") from None
    except Image.UnidentifiedImageError:
        known = ", ".join(formats())
        raise InputError(f"{where} is no image that this server reads ({known}); found {len(data):,} bytes") from None
    except Exception as error:  # decoders raise errors of any type
        raise InputError(f"{where} cannot be read as an image: {error}") from None


def text(content: object, limits: Limits, where: str) -> Given:
    """A text, or its bytes in UTF-8."""
    try:
        content = content.decode() if isinstance(content, bytes) else content
    except UnicodeDecodeError:
        raise InputError(f"{where} must be UTF-8, found {content!r:.60}") from None
    if not isinstance(content, str) or not content.strip():
        raise InputError(f"{where} must be a text with at least one letter, found {content!r:.60}")
    limits.check(f"characters of {where}", len(content), "characters")
    return Given("text", content)
