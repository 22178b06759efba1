"""Sends requests: deduplication, retries, rate and concurrency limits, budget, circuit breaker."""

from __future__ import annotations

from .budget import Budget, Reservation, SessionBudget
from .circuit_breaker import CircuitBreaker, Outage
from .concurrency import AdaptiveConcurrency, ConcurrencyLimit, FairAdmission
from .limits import Limits, Permit
from .lookup import Lookup
from .prompt_cache import CachePoints, cache_points
from .question import PACK_MARK, Question, answer_in, question_key
from .rate_limit import RateLimiter
from .request import AnswerShare, Endpoint, Request
from .retry import Attempts, Backoff, Rejections
from .sender import Sender

__all__ = [
    "PACK_MARK",
    "AdaptiveConcurrency",
    "AnswerShare",
    "Attempts",
    "Backoff",
    "Budget",
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
    "cache_points",
    "question_key",
]
