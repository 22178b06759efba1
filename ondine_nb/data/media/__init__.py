"""Pictures and documents in cells: their values become parts of prompts."""

from __future__ import annotations

from .header import media_type_of, type_name
from .media import Media
from .reader import FORMS, MediaReader

__all__ = ["FORMS", "Media", "MediaReader", "media_type_of", "type_name"]
