"""Frames in and out: pandas and polars frames, files, streams, and where results are written."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .. import lazily

if TYPE_CHECKING:
    from .columns import Column, is_nan_or_none
    from .files import ENDINGS
    from .frames import Frame, frames_in, kind_of, records_frame, wrap
    from .groups import Groups
    from .media import (
        MEDIA_ENDINGS,
        Fetched,
        Media,
        MediaReader,
        Thumbnail,
        cell_name,
        is_installed,
        matches_files,
        thumbnail,
        type_name,
    )
    from .open import named_dtypes, open_source, reads_from
    from .sinks import Sink, open_target
    from .source import FrameSource, Source, joined

__all__ = [
    "ENDINGS",
    "MEDIA_ENDINGS",
    "Column",
    "Fetched",
    "Frame",
    "FrameSource",
    "Groups",
    "Media",
    "MediaReader",
    "Sink",
    "Source",
    "Thumbnail",
    "cell_name",
    "frames_in",
    "is_installed",
    "is_nan_or_none",
    "joined",
    "kind_of",
    "matches_files",
    "named_dtypes",
    "open_source",
    "open_target",
    "reads_from",
    "records_frame",
    "thumbnail",
    "type_name",
    "wrap",
]

__getattr__: Callable[[str], Any] = lazily(
    __name__,
    {
        "Column": "columns",
        "ENDINGS": "files",
        "Fetched": "media",
        "Frame": "frames",
        "FrameSource": "source",
        "Groups": "groups",
        "MEDIA_ENDINGS": "media",
        "Media": "media",
        "MediaReader": "media",
        "Sink": "sinks",
        "Source": "source",
        "Thumbnail": "media",
        "cell_name": "media",
        "frames_in": "frames",
        "is_installed": "media",
        "is_nan_or_none": "columns",
        "joined": "source",
        "kind_of": "frames",
        "matches_files": "media",
        "named_dtypes": "open",
        "open_source": "open",
        "open_target": "sinks",
        "reads_from": "open",
        "records_frame": "frames",
        "thumbnail": "media",
        "type_name": "media",
        "wrap": "frames",
    },
)
