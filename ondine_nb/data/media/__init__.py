"""Pictures and documents in cells: their values become parts of prompts."""

from __future__ import annotations

from .fetch import Fetched
from .header import media_type_of, type_name
from .listing import MEDIA_ENDINGS, files_frame, is_pattern, matches_files
from .media import Measures, Media
from .needs import is_installed
from .pdf import page_as_picture
from .reader import FORMS, MediaReader
from .thumbnails import Thumbnail, cell_name, thumbnail

__all__ = [
    "FORMS",
    "MEDIA_ENDINGS",
    "Fetched",
    "Measures",
    "Media",
    "MediaReader",
    "Thumbnail",
    "cell_name",
    "files_frame",
    "is_installed",
    "is_pattern",
    "matches_files",
    "media_type_of",
    "page_as_picture",
    "thumbnail",
    "type_name",
]
