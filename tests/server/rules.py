"""What the loopback server accepts, in the words of the Messages API: errors, models, limits."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from typing import Any

from .cache import cache_problem
from .media import media_problem

__all__ = ["ERRORS", "MODELS", "Limits", "Problem", "model_page", "problem_of"]

# Bodies come from json.loads: a plain dict is meant by "object", and its check is ten times faster.
Body = Mapping[str, Any]

MODELS = (
    "claude-opus-5-5",
    "claude-sonnet-5-5",
    "claude-haiku-5-5",
    "claude-fable-5-2",
    "claude-mythos-5-2",
)
MAX_TOKENS = 128_000


@dataclass(frozen=True, slots=True)
class Problem:
    """An error answer: HTTP status, `error.type`, `error.message`, `error.details`."""

    status: int
    kind: str
    message: str
    details: Mapping[str, str] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self, request_id: str) -> dict[str, Any]:
        error: dict[str, Any] = {"type": self.kind, "message": self.message}
        if self.details:
            error["details"] = dict(self.details)
        return {"type": "error", "error": error, "request_id": request_id}


SPEND_CAP = {"error_code": "enforced_spend_limit_reached"}
ERRORS: Mapping[str, Problem] = {
    "400": Problem(400, "invalid_request_error", "prompt is too long: 1200000 tokens > 1000000"),
    "401": Problem(401, "authentication_error", "invalid x-api-key"),
    "402": Problem(402, "billing_error", "Your credit balance is too low to access the API."),
    "403": Problem(403, "permission_error", "Your API key may not use the specified resource."),
    "404": Problem(404, "not_found_error", "The requested resource could not be found."),
    "408": Problem(408, "timeout_error", "The request timed out."),
    "409": Problem(409, "conflict_error", "The request conflicts with another one."),
    "413": Problem(413, "request_too_large", "Request exceeds the maximum size of 32 MB."),
    "429": Problem(429, "rate_limit_error", "This request would exceed your rate limit."),
    "429_spend": Problem(
        429,
        "rate_limit_error",
        "Your organization has reached its monthly API usage threshold.",
        SPEND_CAP,
    ),
    "500": Problem(500, "api_error", "Internal server error"),
    "529": Problem(529, "overloaded_error", "Overloaded"),
}

# Which `thinking.type` a model takes, as its documentation has it; ids not named here take all.
THINKING: Mapping[str, frozenset[str]] = {
    "claude-haiku-5-5": frozenset({"adaptive", "disabled"}),
    "claude-sonnet-5-5": frozenset({"adaptive", "between_tools"}),
    "claude-opus-5-5": frozenset({"adaptive"}),
    "claude-fable-5": frozenset({"adaptive"}),
    "claude-mythos-5": frozenset({"adaptive"}),
}
ALL_THINKING = frozenset({"adaptive", "between_tools", "disabled", "enabled"})
EFFORTS = ("low", "medium", "high", "xhigh", "max")
SAMPLING = {"temperature", "top_p", "top_k"}
# What the SDK knows to send, and the sampling parameters, which get a message of their own.
FIELDS = frozenset(
    (
        "cache_control",
        "container",
        "diagnostics",
        "inference_geo",
        "max_tokens",
        "messages",
        "metadata",
        "model",
        "output_config",
        "service_tier",
        "speed",
        "stop_sequences",
        "stream",
        "system",
        "thinking",
        "tool_choice",
        "tools",
        *SAMPLING,
    )
)


def thinking_types(model: str) -> frozenset[str]:
    known = (types for name, types in THINKING.items() if model.startswith(name))
    return next(known, ALL_THINKING)


def problem_of(
    body: Any, models: Sequence[str] | None, *, counting: bool = False
) -> Problem | None:
    """Why the API would refuse this body, or None; `models` None means that every id exists."""
    if not isinstance(body, dict):
        return _invalid("The request body is not valid JSON: expected an object.")
    for check in CHECKS[:-1] if counting else CHECKS:
        reason = check(body)
        if reason:
            return _invalid(reason)
    if models is not None and body["model"] not in models:
        return Problem(404, "not_found_error", f"model: {body['model']}")
    return None


def _invalid(message: str) -> Problem:
    return Problem(400, "invalid_request_error", message)


def _sampling(body: Body) -> str | None:
    sent = body.keys() & SAMPLING
    return f"`{min(sent)}` is not supported by this model." if sent else None


def _fields(body: Body) -> str | None:
    extra = body.keys() - FIELDS
    return f"{min(extra)}: Extra inputs are not permitted" if extra else None


def _model(body: Body) -> str | None:
    return None if isinstance(body.get("model"), str) else "model: Field required"


def _max_tokens(body: Body) -> str | None:
    limit = body.get("max_tokens")
    if limit is None:
        return "max_tokens: Field required"
    if not isinstance(limit, int) or isinstance(limit, bool):
        return "max_tokens: Input should be a valid integer"
    if limit < 1:
        return "max_tokens: Input should be greater than or equal to 1"
    if limit > MAX_TOKENS:
        return f"max_tokens: {limit} > {MAX_TOKENS}, the most that {body['model']} can write"
    return None


def _messages(body: Body) -> str | None:
    messages = body.get("messages")
    if not isinstance(messages, list):
        return "messages: Field required"
    if not messages:
        return "messages: at least one message is required"
    for place, turn in enumerate(messages):
        reason = _turn(turn)
        if reason:
            return f"messages.{place}{reason}"
    return None


def _turn(turn: Any) -> str | None:
    if not isinstance(turn, dict) or turn.get("role") not in ("user", "assistant"):
        return ".role: Input should be 'user' or 'assistant'"
    content = turn.get("content")
    if isinstance(content, str):
        return None if content.strip() else ": text content must be non-empty"
    if not isinstance(content, list) or not content:
        return ".content: Input should be a string or a non-empty list of blocks"
    if any(not isinstance(block, dict) or "type" not in block for block in content):
        return ".content: Input tag 'type' is missing"
    texts = (block.get("text") for block in content if block["type"] == "text")
    if any(not isinstance(text, str) or not text.strip() for text in texts):
        return ": text content blocks must be non-empty"
    kinds = {block["type"] for block in content} - BLOCKS
    return f".content: Input tag {min(kinds)!r} is not expected" if kinds else None


def _thinking(body: Body) -> str | None:
    thinking = body.get("thinking")
    if thinking is None:
        return None
    kind = thinking.get("type") if isinstance(thinking, dict) else None
    allowed = thinking_types(body["model"])
    if kind not in allowed:
        return f"thinking.type: {kind!r} is not supported by {body['model']}, use {sorted(allowed)}"
    if kind == "between_tools" and _output(body).get("effort") in ("xhigh", "max"):
        return "thinking.type: 'between_tools' needs effort low, medium or high"
    return None


def _output_config(body: Body) -> str | None:
    config = _output(body)
    if config.get("effort") not in (None, *EFFORTS):
        return f"output_config.effort: Input should be one of {', '.join(EFFORTS)}"
    wanted = config.get("format")
    if wanted is None:
        return None
    schema = wanted.get("schema") if wanted.get("type") == "json_schema" else None
    if not isinstance(schema, dict):
        return "output_config.format: expected type 'json_schema' and a schema"
    if _is_open(schema):
        return (
            "output_config.format.schema: For 'object' type, "
            "'additionalProperties' must be explicitly set to false"
        )
    return None


def _output(body: Body) -> Mapping[str, Any]:
    config = body.get("output_config")
    return config if isinstance(config, dict) else {}


def _is_open(node: Any) -> bool:
    """Whether an object schema anywhere below leaves room for other properties."""
    if isinstance(node, list):
        return any(map(_is_open, node))
    if not isinstance(node, dict):
        return False
    closed = node.get("type") != "object" or node.get("additionalProperties") is False
    return not closed or any(map(_is_open, node.values()))


def _tool_choice(body: Body) -> str | None:
    choice = body.get("tool_choice")
    forced = isinstance(choice, dict) and choice.get("type") in ("any", "tool")
    strict = body["model"].startswith(("claude-opus-5-5", "claude-sonnet-5-5"))
    return "tool_choice: forced tool use is not supported" if forced and strict else None


def _stream(body: Body) -> str | None:
    return "stream: this server answers without streaming" if body.get("stream") else None


BLOCKS = frozenset({"text", "image", "document", "thinking", "tool_use", "tool_result"})
CHECKS: tuple[Callable[[Body], str | None], ...] = (
    _sampling,
    _fields,
    _model,
    _messages,
    media_problem,
    cache_problem,
    _thinking,
    _output_config,
    _tool_choice,
    _stream,
    _max_tokens,
)


def model_page(models: Sequence[str]) -> dict[str, Any]:
    """The body of GET /v1/models."""
    return {
        "data": [_model_info(model) for model in models],
        "first_id": models[0] if models else None,
        "has_more": False,
        "last_id": models[-1] if models else None,
    }


def _model_info(model: str) -> dict[str, Any]:
    parts = model.split("-")
    line = parts[1] if len(parts) > 1 else ""
    return {
        "type": "model",
        "id": model,
        "display_name": f"Claude {line.title()} {'.'.join(parts[2:])}".strip(),
        "created_at": "2026-10-01T00:00:00Z",
        "lifecycle": "active",
        "deprecated_at": None,
        "retires_at": None,
        "line": line if line in ("haiku", "sonnet", "opus", "fable", "mythos") else None,
        "max_input_tokens": 1_000_000,
        "max_tokens": MAX_TOKENS,
        "capabilities": _capabilities(model),
    }


def _capabilities(model: str) -> dict[str, Any]:
    yes = {"supported": True}
    plain = ("batch", "citations", "code_execution", "image_input", "pdf_input")
    edits = ("clear_thinking_20251015", "clear_tool_uses_20250919", "compact_20260112")
    types = thinking_types(model)
    return {
        **dict.fromkeys(plain, yes),
        "structured_outputs": yes,
        "context_management": {**yes, **dict.fromkeys(edits, yes)},
        "effort": {**yes, **dict.fromkeys(EFFORTS, yes)},
        "server_tools": {**yes, "code_execution": yes, "web_search": yes},
        "thinking": {**yes, "types": {kind: {"supported": kind in types} for kind in ALL_THINKING}},
    }


class Bucket:
    """A token bucket: `per_minute` flows in, at most `capacity` is held."""

    def __init__(self, per_minute: int, capacity: float) -> None:
        self.per_minute = per_minute
        self.capacity = self.level = float(capacity)
        self._at = monotonic()

    def refill(self) -> None:
        now = monotonic()
        self.level = min(self.capacity, self.level + (now - self._at) * self.per_minute / 60)
        self._at = now

    def seconds_until(self, level: float) -> float:
        return max(0.0, (level - self.level) * 60 / self.per_minute)


class Window(Bucket):
    """A counter that is full again at the start of each window of so many seconds."""

    def __init__(self, per_minute: int, seconds: float) -> None:
        super().__init__(per_minute, per_minute * seconds / 60)
        self._seconds = seconds

    def refill(self) -> None:
        now = monotonic()
        if now - self._at >= self._seconds:
            self._at = now - (now - self._at) % self._seconds
            self.level = self.capacity

    def seconds_until(self, level: float) -> float:
        return self._at + self._seconds - monotonic() if self.level < level else 0.0


class Limits:
    """Rate limits per minute by kind: requests, tokens, input-tokens, output-tokens.

    A request is counted when it is admitted, tokens when they are billed, so that the level of
    tokens can fall below zero and the next request waits, as it does in the API.
    """

    KINDS = ("requests", "tokens", "input-tokens", "output-tokens")

    def __init__(
        self,
        per_minute: Mapping[str, int],
        burst: int | None = None,
        windows: float | None = None,
    ) -> None:
        unknown = set(per_minute) - set(self.KINDS)
        if unknown:
            raise ValueError(f"unknown limits {sorted(unknown)}; there are {self.KINDS}")
        self._buckets = {
            kind: Bucket(limit, burst or limit if kind == "requests" else limit)
            for kind, limit in per_minute.items()
        }
        if windows is not None:
            self._buckets = {kind: Window(limit, windows) for kind, limit in per_minute.items()}

    def admit(self) -> float:
        """0 when a request may pass, else the seconds after which it could."""
        for bucket in self._buckets.values():
            bucket.refill()
        wait = max((bucket.seconds_until(1) for bucket in self._buckets.values()), default=0.0)
        if not wait:
            self._take("requests", 1)
        return wait

    def charge(self, usage: Mapping[str, Any]) -> None:
        fresh = usage["input_tokens"] + (usage.get("cache_creation_input_tokens") or 0)
        self._take("input-tokens", fresh)
        self._take("output-tokens", usage["output_tokens"])
        self._take("tokens", fresh + usage["output_tokens"])

    def _take(self, kind: str, amount: float) -> None:
        if kind in self._buckets:
            self._buckets[kind].level -= amount

    def state(self) -> Iterator[tuple[str, int, int, float]]:
        """Each kind, its limit a minute, what is left, and the seconds until all is there."""
        for kind, bucket in self._buckets.items():
            bucket.refill()
            left = max(0, math.floor(bucket.level))
            yield kind, bucket.per_minute, left, bucket.seconds_until(bucket.capacity)

    def headers(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for kind, limit, left, seconds in self.state():
            full = math.ceil(time.time() + seconds)
            name = f"anthropic-ratelimit-{kind}"
            found[f"{name}-limit"] = str(limit)
            found[f"{name}-remaining"] = str(left)
            found[f"{name}-reset"] = datetime.fromtimestamp(full, UTC).strftime(
                "%Y-%m-%dT%H:%M:%SZ"
            )
        return found
