"""What every API over HTTP needs: errors read, answers bounded, a fast path around an SDK."""

from __future__ import annotations

from .bounded import ENCODINGS, MOST_BYTES, Unpacking, check_redirect, guard
from .errors import causes, not_answered, retry_after, says_spent, timed_out, transient
from .fast_path import BodyTemplate, FastPath, RawResponse, TimeLimit

__all__ = [
    "ENCODINGS",
    "MOST_BYTES",
    "BodyTemplate",
    "FastPath",
    "RawResponse",
    "TimeLimit",
    "Unpacking",
    "causes",
    "check_redirect",
    "guard",
    "not_answered",
    "retry_after",
    "says_spent",
    "timed_out",
    "transient",
]
