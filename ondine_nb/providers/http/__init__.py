"""What every API over HTTP needs: its address, errors read, answers bounded, a fast path."""

from __future__ import annotations

from .base_url import BaseUrl
from .bounded import ENCODINGS, MOST_BYTES, Unpacking, check_redirect, guard
from .connections import CONNECTING, connections, time_bounds
from .errors import causes, not_answered, retry_after, says_spent, timed_out, transient
from .fast_path import BodyTemplate, FastPath, RawResponse, TimeLimit
from .request_body import RequestBody, content_pieces

__all__ = [
    "CONNECTING",
    "ENCODINGS",
    "MOST_BYTES",
    "BaseUrl",
    "BodyTemplate",
    "FastPath",
    "RawResponse",
    "RequestBody",
    "TimeLimit",
    "Unpacking",
    "causes",
    "check_redirect",
    "connections",
    "content_pieces",
    "guard",
    "not_answered",
    "retry_after",
    "says_spent",
    "time_bounds",
    "timed_out",
    "transient",
]
