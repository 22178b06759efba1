"""The forms in which a prompt takes a picture or document: `{photo:image}`, `{contract:pdf}`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from ..errors import MediaError
from ..models import Part
from ..text import is_missing

__all__ = ["FORMS", "MediaOf", "as_words", "media_for"]

FORMS = ("image", "images", "pdf", "file")
# Reads what a value stands for in a form, which may be several pictures, or none.
MediaOf: TypeAlias = Callable[[str, Any], Sequence[Part]]


def as_words(form: str, value: Any) -> Sequence[Part]:
    """`[image]` in the place of what nobody reads: of a template that no run has."""
    return () if is_missing(value) else (f"[{form}]",)


def media_for(media: MediaOf, form: str, value: Any, column: str) -> Sequence[Part]:
    """What `media` reads, whose errors name the column. Raises `MediaError`."""
    try:
        return media(form, value)
    except MediaError as error:
        raise type(error)(f"{column}: {error}") from error
