"""Answers of Chat Completions, read into ours."""

from __future__ import annotations

from typing import Any

from ...errors import MalformedAnswerError
from ...models import UNKNOWN_USAGE, Usage
from ..base import Answer, json_of

__all__ = ["error_in", "read_chat", "usage_of"]

# Why an answer ended, in the words of the Messages API; others stay as they are.
_REASONS = {
    "stop": "end_turn",
    "eos": "end_turn",
    "length": "max_tokens",
    "content_filter": "refusal",
}


def read_chat(body: bytes) -> Answer:
    """The answer in a body of Chat Completions. Raises `MalformedAnswerError` where it is none.

    What the model refused to say, and what a filter held back, is a refusal.
    """
    try:
        said = json_of(body)
        usage = usage_of(said)
        choices = said.get("choices")
        # Billed and nothing said: an answer that is empty.
        choice = {} if usage.known and not choices else choices[0]
        message = choice.get("message") or {}
        text, blocks = _text(message.get("content"))
        reason = choice.get("finish_reason")
        reason = None if reason is None else _REASONS.get(str(reason), str(reason))
        refusal = message.get("refusal")
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError) as error:
        start = body[:60].decode("utf-8", "replace").replace("\n", " ")
        raise MalformedAnswerError(
            f"the answer is no chat completion: {start!r}", possibly_billed=True
        ) from error
    if isinstance(refusal, str) and refusal:
        return Answer(refusal, "refusal", usage, blocks)
    return Answer(text, reason, usage, blocks)


def _text(content: Any) -> tuple[str, int]:
    """The text of a message, and how many parts it has; what a model thought isn't in it."""
    if isinstance(content, str):
        return content, 1
    parts = content if isinstance(content, list) else []
    kinds = (part for part in parts if isinstance(part, dict) and part.get("type") == "text")
    texts = [part.get("text") for part in kinds]
    return "".join(text for text in texts if isinstance(text, str)), len(parts)


def usage_of(said: dict[str, Any]) -> Usage:
    """What an answer is billed for. Cached tokens are part of the prompt's there, here apart.

    Where the sum of all tokens is more than those of prompt and answer, the rest was thought and
    isn't in the answer's (xAI, Gemini): it is billed as output all the same.
    """
    told = said.get("usage")
    if not isinstance(told, dict):
        return UNKNOWN_USAGE
    prompt, output = _count(told.get("prompt_tokens")), _count(told.get("completion_tokens"))
    if prompt is None or output is None:
        return UNKNOWN_USAGE
    details = told.get("prompt_tokens_details")
    cached = written = 0
    if isinstance(details, dict):
        cached = _count(details.get("cached_tokens")) or 0
        written = _count(details.get("cache_write_tokens")) or 0
    total = _count(told.get("total_tokens"))
    counts = {
        "input_tokens": prompt - cached - written,
        "output_tokens": output if total is None else max(output, total - prompt),
        "cache_read_input_tokens": cached,
        "cache_creation_input_tokens": written,
    }
    return Usage.of_message({"usage": counts})


def _count(value: Any) -> Any:
    """A number as it came, or None: what can't be a count is told from it by who takes it."""
    return value if type(value) in (int, float) else None


def error_in(body: bytes) -> dict[str, Any] | None:
    """The error that a 200 has instead of an answer, as routers send it, or None."""
    if b'"error"' not in body:
        return None
    try:
        said = json_of(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict) or said.get("choices") or not said.get("error"):
        return None
    return said
