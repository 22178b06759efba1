"""What servers of Chat Completions say went wrong, and which of our errors that is."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from ...errors import (
    FatalProviderError,
    ForbiddenError,
    OverloadedError,
    RejectedRequestError,
    RowError,
)
from ..http import no_eyes, retry_after, says_spent, transient
from .rate_headers import allows_nothing, limits_told, until_reset

__all__ = ["ErrorBody", "error_of"]

_SPENT = {
    "insufficient_quota",
    "insufficient_credits",
    "insufficient_funds",
    "billing_hard_limit_reached",
    "billing_not_active",
    "budget_exceeded",
    "access_terminated",
}
_NO_MODEL = {"model_not_found", "deploymentnotfound", "invalid_model", "model_not_available"}
# What no row's request will ever be taken for: each has it.
_NEVER = {"unsupported_parameter", "unsupported_value", "unknown_parameter", "invalid_json_schema"}
_NEVER_WORDS = re.compile(r"(unrecognized request argument|invalid schema for)", re.IGNORECASE)
# At the beginning of what the server says: further on it may repeat a row's text.
_BAD_KEY = re.compile(
    r".{0,40}?((incorrect|invalid|missing|no) (\w+ )?(api[ _-]?key|token|credentials)"
    r"|api[ _-]?key (is )?(not valid|invalid|incorrect|missing))",
    re.IGNORECASE,
)
_BAD_MODEL = re.compile(r".{0,80}?(is not a valid model|model .{0,60}?not found)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """What a server says of a failure: its message in one line, and its types and codes."""

    message: str
    kinds: frozenset[str] = frozenset()
    param: str = ""

    @classmethod
    def of(cls, content: bytes) -> ErrorBody:
        """Reads a body of whatever form: OpenAI's, FastAPI's `detail`, Gemini's list, a page."""
        try:
            body = json.loads(content)
        except (ValueError, RecursionError):
            return cls("no message")
        if isinstance(body, list):
            body = next(iter(body), None)
        if not isinstance(body, dict):
            return cls(_one_line(body) if isinstance(body, str) else "no message")
        inner = body.get("error")
        if isinstance(inner, str):
            return cls(_one_line(inner), _names(body))
        inner = inner if isinstance(inner, dict) else body
        message = inner.get("message") or inner.get("detail") or ""
        text = message if isinstance(message, str) else json.dumps(message, ensure_ascii=False)
        param = inner.get("param")
        return cls(_one_line(text), _names(inner), param if isinstance(param, str) else "")

    @property
    def code(self) -> int | None:
        """The HTTP status that it names, as routers do inside a 200."""
        codes = [int(kind) for kind in self.kinds if re.fullmatch(r"[45]\d\d", kind)]
        return codes[0] if codes else None


def _names(said: dict[str, Any]) -> frozenset[str]:
    found = (said.get(name) for name in ("type", "code", "status"))
    return frozenset(str(each).lower() for each in found if isinstance(each, str | int))


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300] or "no message"


def error_of(
    status: int, said: ErrorBody, headers: Any, *, where: str, model: str, key: str, url: str
) -> RowError | FatalProviderError:
    """Which of our errors an HTTP status means.

    `where` is what the server is called, `key` the variable that its key is read from, `url` the
    address that was asked.
    """
    told, kinds = said.message, said.kinds
    if blind := no_eyes(status, told, where, model):
        return blind
    if status == 429 and allows_nothing(headers):
        return FatalProviderError(
            f"{where} allows this key no request a minute ({status}: {told}): its plan has none, "
            "or it isn't active yet"
        )
    if status == 402 or kinds & _SPENT or (says_spent(status, told) and not _of_a_minute(said)):
        return FatalProviderError(
            f"the account can't pay for more ({status}: {told}). Nothing further is sent"
        )
    if status == 401 or (status in (400, 403) and ("invalid_api_key" in kinds or _bad_key(told))):
        remedy = f"Set {key} to a valid key" if key else "Give the key that it takes"
        return FatalProviderError(f"{where} refused the key ({status}: {told}). {remedy}")
    if status == 403:
        return ForbiddenError(f"{where} refused the request ({status}: {told})")
    if _no_model(status, said):
        return FatalProviderError(f"{where} does not know model '{model}' ({status}: {told})")
    if status in (404, 405, 501):
        return FatalProviderError(
            f"{where} has no route {url}/chat/completions ({status}: {told}): it doesn't speak "
            "Chat Completions, or --base-url isn't where that begins"
        )
    if status in (408, 409, 429) or status >= 500:
        return _later(status, said, headers)
    if kinds & _NEVER or _NEVER_WORDS.match(told):
        return FatalProviderError(
            f"{where} takes no such request for '{model}' ({status}: {told}). {_remedy(said)}"
        )
    return RejectedRequestError(f"the request was rejected ({status}: {told})")


def _of_a_minute(said: ErrorBody) -> bool:
    """Gemini says the same of a limit a minute and of a plan that is used up."""
    return "resource_exhausted" in said.kinds


def _bad_key(told: str) -> bool:
    return _BAD_KEY.match(told) is not None


def _no_model(status: int, said: ErrorBody) -> bool:
    if status not in (400, 404):
        return False
    known = bool(said.kinds & _NO_MODEL) or _BAD_MODEL.match(said.message) is not None
    return known or (status == 404 and "model" in said.message.lower())


def _later(status: int, said: ErrorBody, headers: Any) -> RowError:
    """What may go well another time, with what the server says of when."""
    told, limits = said.message, limits_told(headers)
    if status in (503, 529) and ("overloaded" in said.kinds or "overloaded" in told.lower()):
        after = retry_after(headers)
        return OverloadedError(f"overloaded ({status}: {told})", retry_after=after, headers=limits)
    error = transient(status, told, limits)
    if status == 429 and getattr(error, "retry_after", None) is None:
        error.retry_after = until_reset(headers)  # type: ignore[attr-defined]
    return error


def _remedy(said: ErrorBody) -> str:
    """What to change, by the parameter that it names."""
    told = f"{said.param} {said.message}"
    if "reasoning_effort" in told:
        return "Choose another --effort, or give --thinking auto"
    if "max_tokens" in told or "max_completion_tokens" in told:
        return "Choose another --max-tokens, or the prefix of who serves the model"
    if "response_format" in told or "schema" in told.lower():
        return "Simplify the schema"
    return "Leave out the option that brings it about"
