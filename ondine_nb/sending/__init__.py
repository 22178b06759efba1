"""Sends requests: deduplication, retries, rate and concurrency limits, budget, circuit breaker."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .. import lazily

if TYPE_CHECKING:
    from .budget import Budget, Reservation, SessionBudget
    from .bytes_in_flight import BytesInFlight, in_media_thread
    from .circuit_breaker import CircuitBreaker, Outage
    from .concurrency import AdaptiveConcurrency, ConcurrencyLimit, FairAdmission
    from .limits import Limits, Permit
    from .lookup import Lookup, reader_of
    from .prompt_cache import CachePoints, cache_points, least_tokens
    from .question import PACK_MARK, Question, answer_in, question_key
    from .rate_limit import RateLimiter
    from .request import AnswerShare, Endpoint, Request, body_bytes
    from .retry import Attempts, Backoff, Rejections
    from .sender import Sender

__all__ = [
    "PACK_MARK",
    "AdaptiveConcurrency",
    "AnswerShare",
    "Attempts",
    "Backoff",
    "Budget",
    "BytesInFlight",
    "CachePoints",
    "CircuitBreaker",
    "ConcurrencyLimit",
    "Endpoint",
    "FairAdmission",
    "Limits",
    "Lookup",
    "Outage",
    "Permit",
    "Question",
    "RateLimiter",
    "Rejections",
    "Request",
    "Reservation",
    "Sender",
    "SessionBudget",
    "answer_in",
    "body_bytes",
    "cache_points",
    "in_media_thread",
    "least_tokens",
    "question_key",
    "reader_of",
]

__getattr__: Callable[[str], Any] = lazily(
    __name__,
    {
        "AdaptiveConcurrency": "concurrency",
        "AnswerShare": "request",
        "Attempts": "retry",
        "Backoff": "retry",
        "Budget": "budget",
        "BytesInFlight": "bytes_in_flight",
        "CachePoints": "prompt_cache",
        "CircuitBreaker": "circuit_breaker",
        "ConcurrencyLimit": "concurrency",
        "Endpoint": "request",
        "FairAdmission": "concurrency",
        "Limits": "limits",
        "Lookup": "lookup",
        "Outage": "circuit_breaker",
        "PACK_MARK": "question",
        "Permit": "limits",
        "Question": "question",
        "RateLimiter": "rate_limit",
        "Rejections": "retry",
        "Request": "request",
        "Reservation": "budget",
        "Sender": "sender",
        "SessionBudget": "budget",
        "answer_in": "question",
        "body_bytes": "request",
        "cache_points": "prompt_cache",
        "in_media_thread": "bytes_in_flight",
        "least_tokens": "prompt_cache",
        "question_key": "question",
        "reader_of": "lookup",
    },
)
