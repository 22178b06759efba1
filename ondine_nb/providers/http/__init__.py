"""What every API over HTTP needs: its address, errors, answers bounded, batches, a fast path."""

from __future__ import annotations

from .base_url import BaseUrl
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
from .errors import causes, no_eyes, not_answered, retry_after, says_spent, timed_out, transient
from .fast_path import BodyTemplate, FastPath, RawResponse, TimeLimit
from .request_body import RequestBody, content_pieces

__all__ = [
    "CALL_SECONDS",
    "CONNECTING",
    "CREATE_SECONDS",
    "ENCODINGS",
    "MOST_BYTES",
    "BaseUrl",
    "BatchCalls",
    "BodyTemplate",
    "FastPath",
    "NoSuchBatchError",
    "RawResponse",
    "RequestBody",
    "TimeLimit",
    "Unpacking",
    "causes",
    "check_redirect",
    "connections",
    "content_pieces",
    "failed",
    "guard",
    "no_eyes",
    "not_answered",
    "retry_after",
    "says_spent",
    "time_bounds",
    "timed_out",
    "transient",
    "unreadable",
]
