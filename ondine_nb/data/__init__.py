"""Frames in and out: pandas and polars frames, files, streams, and where results are written."""

from __future__ import annotations

from .columns import Column, is_nan_or_none
from .files import ENDINGS
from .frames import Frame, frames_in, kind_of, records_frame, wrap
from .open import named_dtypes, open_source
from .sinks import Sink, open_target
from .source import FrameSource, Source, joined

__all__ = [
    "ENDINGS",
    "Column",
    "Frame",
    "FrameSource",
    "Sink",
    "Source",
    "frames_in",
    "is_nan_or_none",
    "joined",
    "kind_of",
    "named_dtypes",
    "open_source",
    "open_target",
    "records_frame",
    "wrap",
]
