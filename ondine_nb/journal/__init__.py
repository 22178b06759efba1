"""The journal: paid answers on disk, found again by the key of their question."""

from __future__ import annotations

from .batches import CREATED, ENDED, BatchRecord
from .entries import Bill, Entry
from .files import make_folder
from .journal import Journal, close_below, home, shared, use
from .json_lines import JsonLines, json_line_sets, line_id
from .salvage import kept_aside
from .single_flight import SingleFlight

__all__ = [
    "CREATED",
    "ENDED",
    "BatchRecord",
    "Bill",
    "Entry",
    "Journal",
    "JsonLines",
    "SingleFlight",
    "close_below",
    "home",
    "json_line_sets",
    "kept_aside",
    "line_id",
    "make_folder",
    "shared",
    "use",
]
