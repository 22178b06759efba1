"""Chat Completions on the loopback server: what it accepts, what it answers, how it tells limits.

A request is read as one of the Messages API, answered as that would be and put into this API's
shape: so answers, faults, packs and counts follow from the same rules for both.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from .cache import CHARS_A_TOKEN
from .media import media_problem, sign_of
from .rules import MAX_TOKENS, Limits, Problem

__all__ = [
    "CHAT_ERRORS",
    "CHAT_MODELS",
    "as_chat",
    "as_messages",
    "chat_limits",
    "chat_model",
    "chat_page",
    "chat_problem",
    "duration",
    "prefixes",
]

Body = Mapping[str, Any]

CHAT_MODELS = ("gpt-5.2", "gpt-5-mini", "gpt-4.1-mini")
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
FIELDS = frozenset(
    (
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "messages",
        "metadata",
        "model",
        "n",
        "parallel_tool_calls",
        "presence_penalty",
        "prompt_cache_key",
        "reasoning_effort",
        "response_format",
        "safety_identifier",
        "seed",
        "service_tier",
        "stop",
        "store",
        "stream",
        "temperature",
        "tool_choice",
        "tools",
        "top_p",
        "user",
        "verbosity",
    )
)
# What a strict schema may not have: the API refuses the request that does.
NOT_STRICT = frozenset(
    (
        "allOf",
        "default",
        "dependentRequired",
        "dependentSchemas",
        "else",
        "if",
        "not",
        "oneOf",
        "patternProperties",
        "prefixItems",
        "then",
        "uniqueItems",
    )
)
FORMATS = frozenset(
    ("date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uuid")
)
DEEPEST = 10
PARTS = ("text", "image_url", "file")


@dataclass(frozen=True, slots=True)
class ChatProblem(Problem):
    """An error answer in this API's shape: `kind` is its type, `code` what programs go by."""

    code: str | int | None = None
    param: str | None = None

    def body(self, request_id: str) -> dict[str, Any]:
        error = {
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.code,
        }
        return {"error": error}


def _problem(
    status: int, kind: str, message: str, code: str | None = None, param: str | None = None
) -> ChatProblem:
    return ChatProblem(status, kind, message, code=code, param=param)


_QUOTA = "You exceeded your current quota, please check your plan and billing details."
_SLOW = "Rate limit reached for gpt-5-mini in organization org-x on requests per min (RPM)."
# By the names of the same faults of the Messages API.
CHAT_ERRORS: Mapping[str, ChatProblem] = {
    "400": _problem(
        400,
        "invalid_request_error",
        "This model's maximum context length is 400000 tokens.",
        "context_length_exceeded",
        "messages",
    ),
    "401": _problem(401, "invalid_request_error", "Incorrect API key provided.", "invalid_api_key"),
    "402": _problem(402, "insufficient_credits", "This request requires more credits."),
    "403": _problem(403, "invalid_request_error", "You are not allowed to sample from this model."),
    "404": _problem(404, "invalid_request_error", "The model does not exist", "model_not_found"),
    "408": _problem(408, "timeout", "The request timed out."),
    "409": _problem(409, "conflict", "The request conflicts with another one."),
    "413": _problem(413, "invalid_request_error", "The request body is too large."),
    "429": _problem(429, "requests", _SLOW, "rate_limit_exceeded"),
    "429_spend": _problem(429, "insufficient_quota", _QUOTA, "insufficient_quota"),
    "500": _problem(500, "server_error", "The server had an error while processing your request."),
    "529": _problem(503, "server_error", "The engine is currently overloaded.", "overloaded"),
}


def chat_problem(body: Any, models: Sequence[str] | None) -> Problem | None:
    """Why the API would refuse this body, or None; `models` None means that every id exists."""
    if not isinstance(body, dict):
        return _problem(400, "invalid_request_error", "We could not parse the JSON body.")
    for check in CHECKS:
        found = check(body)
        if found:
            return _problem(400, "invalid_request_error", found[1], found[2], found[0])
    if models is not None and body["model"] not in models:
        message = f"The model `{body['model']}` does not exist or you do not have access to it."
        return replace(CHAT_ERRORS["404"], message=message)
    return None


Found = tuple[str, str, str | None] | None  # the parameter, what is wrong with it, a code


def _fields(body: Body) -> Found:
    extra = body.keys() - FIELDS
    if extra:
        return min(extra), f"Unrecognized request argument supplied: {min(extra)}", None
    return None if isinstance(body.get("model"), str) else ("model", "you must name a model", None)


def _turns(body: Body) -> Found:
    turns = body.get("messages")
    if not isinstance(turns, list) or not turns:
        return "messages", "Invalid 'messages': expected a non-empty array.", None
    for place, turn in enumerate(turns):
        at = f"messages[{place}]"
        if not isinstance(turn, dict) or turn.get("role") not in (
            "system",
            "developer",
            "user",
            "assistant",
        ):
            return f"{at}.role", f"Invalid value for '{at}.role'.", "invalid_value"
        content = turn.get("content")
        if isinstance(content, list):
            for part in content:
                if not isinstance(part, dict) or part.get("type") not in PARTS:
                    return f"{at}.content", f"Invalid part in '{at}.content'.", "invalid_value"
        elif not isinstance(content, str):
            return f"{at}.content", f"Invalid type for '{at}.content'.", "invalid_type"
    wrong = media_problem(body)
    return ("messages", wrong, "invalid_image") if wrong else None


def _most(body: Body) -> Found:
    given = [name for name in ("max_tokens", "max_completion_tokens") if body.get(name) is not None]
    if len(given) > 1:
        return given[0], "Setting both limits at the same time is not supported.", None
    for name in given:
        if name == "max_tokens" and _reasons(body["model"]):
            message = "Unsupported parameter: use 'max_completion_tokens' instead."
            return name, message, "unsupported_parameter"
        if type(body[name]) is not int or not 1 <= body[name] <= MAX_TOKENS:
            return name, f"Invalid value for '{name}'.", "invalid_value"
    return None


def _reasons(model: str) -> bool:
    return model.startswith(("gpt-5", "o1", "o3", "o4"))


def _effort(body: Body) -> Found:
    if body.get("reasoning_effort") not in (None, *EFFORTS):
        return "reasoning_effort", "Unsupported value for 'reasoning_effort'.", "unsupported_value"
    return None


def _stream(body: Body) -> Found:
    return ("stream", "this server answers without streaming", None) if body.get("stream") else None


def _format(body: Body) -> Found:
    wanted = body.get("response_format")
    if wanted is None:
        return None
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if kind in ("text", "json_object"):
        return None
    inner = wanted.get("json_schema") if kind == "json_schema" else None
    if not isinstance(inner, dict) or not isinstance(inner.get("schema"), dict):
        return "response_format", "Missing required parameter: 'json_schema.schema'.", None
    name, schema = inner.get("name"), inner["schema"]
    if not isinstance(name, str) or not name.replace("_", "").replace("-", "").isalnum():
        return "response_format.json_schema.name", "Invalid name of a schema.", "invalid_value"
    wrong = _not_strict(schema) if inner.get("strict") else None
    if wrong:
        message = f"Invalid schema for response_format '{name}': {wrong}"
        return "response_format", message, "invalid_json_schema"
    return None


def _not_strict(schema: Body) -> str | None:
    if schema.get("type") != "object":
        return "schema must be a JSON Schema of 'type: \"object\"' at the root."
    return _odd(schema, 0)


def _odd(node: Any, depth: int) -> str | None:
    """What a strict schema may not have, here or below."""
    if not isinstance(node, dict):
        return None if node is not True else "'true' is not a schema that can be held to."
    if depth > DEEPEST:
        return f"more than {DEEPEST} levels of nesting."
    if odd := sorted(node.keys() & NOT_STRICT):
        return f"'{odd[0]}' is not permitted."
    if node.get("format", "date") not in FORMATS:
        return f"'{node['format']}' is not a valid format."
    if not node.keys() & {"type", "enum", "const", "anyOf", "$ref"}:
        return "schema must have a 'type' key."
    below = [*node.get("anyOf", ()), *node.get("$defs", {}).values()]
    if "object" in _kinds(node):
        fields = node.get("properties", {})
        if node.get("additionalProperties") is not False:
            return "'additionalProperties' is required to be supplied and to be false."
        if sorted(node.get("required", ())) != sorted(fields):
            return "'required' is required to be an array of every key in properties."
        return _first(fields.values(), depth + 1) or _first(below, depth + 1)
    if "array" in _kinds(node):
        if not isinstance(node.get("items"), dict):
            return "array schema missing items."
        below.append(node["items"])
    return _first(below, depth + 1)


def _kinds(node: Body) -> Sequence[str]:
    kind = node.get("type", ())
    return [kind] if isinstance(kind, str) else list(kind)


def _first(nodes: Any, depth: int) -> str | None:
    return next(filter(None, (_odd(node, depth) for node in nodes)), None)


CHECKS: tuple[Callable[[Body], Found], ...] = (_fields, _turns, _most, _effort, _stream, _format)


def as_messages(body: Body) -> dict[str, Any]:
    """The same request, as one of the Messages API."""
    system = [_text(turn) for turn in body["messages"] if turn["role"] in ("system", "developer")]
    turns = [turn for turn in body["messages"] if turn["role"] in ("user", "assistant")]
    most = body.get("max_completion_tokens") or body.get("max_tokens") or MAX_TOKENS
    wanted = body.get("response_format") or {}
    same: dict[str, Any] = {"model": body["model"], "messages": turns, "max_tokens": most}
    if system:
        same["system"] = "\n\n".join(system)
    if wanted.get("type") == "json_schema":
        schema = wanted["json_schema"]["schema"]
        same["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
    effort = body.get("reasoning_effort", "medium" if _reasons(body["model"]) else "none")
    same["thinking"] = {"type": "disabled" if effort == "none" else "adaptive"}
    return same


def _text(turn: Body) -> str:
    content = turn["content"]
    if isinstance(content, str):
        return content
    return "".join(part["text"] if part["type"] == "text" else sign_of(part) for part in content)


_REASONS = {"end_turn": "stop", "max_tokens": "length", "refusal": "stop"}


def as_chat(message: Body, fault: str | None = None) -> dict[str, Any]:
    """An answer of the Messages API, in the shape of this one.

    What a model refuses says so in `refusal`; what the API's filter holds back has no text. An
    `answer` that is a dict may have `choices` or `error` of its own.
    """
    texts = [block["text"] for block in message["content"] if block["type"] == "text"]
    text, reason = "".join(texts), _REASONS.get(message["stop_reason"], message["stop_reason"])
    said: dict[str, Any] = {"role": "assistant", "content": text or None, "refusal": None}
    if message["stop_reason"] == "refusal":
        if fault == "refusal":
            reason = "content_filter"
        else:
            said |= {"content": None, "refusal": text}
    elif fault == "empty":
        said["content"] = ""
    choice = {"index": 0, "message": said, "logprobs": None, "finish_reason": reason}
    given = {name: message[name] for name in ("choices", "error") if name in message}
    return {
        "id": message["id"].replace("msg_", "chatcmpl-"),
        "object": "chat.completion",
        "created": 1_790_000_000,
        "model": message["model"],
        "choices": [choice],
        "usage": chat_usage(message["usage"]),
        "service_tier": "default",
        "system_fingerprint": None,
        **given,
    }


def chat_usage(usage: Body) -> dict[str, Any]:
    """The same counts: here the prompt's have the cached ones in them."""
    read = usage["cache_read_input_tokens"] or 0
    written = usage["cache_creation_input_tokens"] or 0
    prompt, output = usage["input_tokens"] + read + written, usage["output_tokens"]
    reasoned = (usage.get("output_tokens_details") or {}).get("thinking_tokens", 0)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
        "prompt_tokens_details": {
            "cached_tokens": read,
            "cache_write_tokens": written,
            "audio_tokens": 0,
        },
        "completion_tokens_details": {
            "reasoning_tokens": reasoned,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


LEAST_CACHED, STEP = 1_024, 128  # tokens: what is cached by itself, and how finely


def prefixes(body: Body) -> list[tuple[bytes, int]]:
    """Key and tokens of each beginning of a request that is cached without being marked."""
    fixed = {name: body.get(name) for name in ("model", "tools", "response_format")}
    seen = sha256(json.dumps(fixed, sort_keys=True).encode())
    text = "".join(f"\0{turn['role']}\0{_text(turn)}" for turn in body["messages"]).encode()
    found, at = [], 0
    for tokens in range(LEAST_CACHED, len(text) // CHARS_A_TOKEN + 1, STEP):
        end = tokens * CHARS_A_TOKEN
        seen.update(text[at:end])
        at = end
        found.append((seen.digest(), tokens))
    return found


def chat_limits(limits: Limits) -> dict[str, str]:
    """Its rate limits as headers: of requests and of tokens, with durations until all is there."""
    found: dict[str, str] = {}
    for kind, limit, remaining, seconds in limits.state():
        if kind in ("requests", "tokens"):
            found[f"x-ratelimit-limit-{kind}"] = str(limit)
            found[f"x-ratelimit-remaining-{kind}"] = str(remaining)
            found[f"x-ratelimit-reset-{kind}"] = duration(seconds)
    return found


def duration(seconds: float) -> str:
    """As Go writes one: "6m0s", "1s", "120ms"."""
    if seconds < 1:
        return f"{round(seconds * 1000)}ms"
    hours, rest = divmod(seconds, 3600)
    minutes, rest = divmod(rest, 60)
    named = (f"{hours:.0f}h" if hours else "") + (f"{minutes:.0f}m" if hours or minutes else "")
    return f"{named}{round(rest, 3):g}s"


def chat_page(models: Sequence[str]) -> dict[str, Any]:
    """The body of GET /v1/models, as an OpenAI-shaped server gives it."""
    return {"object": "list", "data": [chat_model(model) for model in models]}


def chat_model(model: str) -> dict[str, Any]:
    """One of its models."""
    return {"id": model, "object": "model", "created": 1_780_000_000, "owned_by": "system"}
