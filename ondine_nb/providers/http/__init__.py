"""What every API over HTTP needs: errors read, answers bounded, batches, a fast path."""

from __future__ import annotations

from .batch_calls import (
    CALL_SECONDS,
    CREATE_SECONDS,
    BatchCalls,
    NoSuchBatchError,
    failed,
    unreadable,
)
from .bounded import ENCODINGS, MOST_BYTES, Unpacking, check_redirect, guard
from .connections import CONNECTING, connections, time_bounds
from .errors import causes, not_answered, retry_after, says_spent, timed_out, transient
from .fast_path import BodyTemplate, FastPath, RawResponse, TimeLimit

__all__ = [
    "CALL_SECONDS",
    "CONNECTING",
    "CREATE_SECONDS",
    "ENCODINGS",
    "MOST_BYTES",
    "BatchCalls",
    "BodyTemplate",
    "FastPath",
    "NoSuchBatchError",
    "RawResponse",
    "TimeLimit",
    "Unpacking",
    "causes",
    "check_redirect",
    "connections",
    "failed",
    "guard",
    "not_answered",
    "retry_after",
    "says_spent",
    "time_bounds",
    "timed_out",
    "transient",
    "unreadable",
]
