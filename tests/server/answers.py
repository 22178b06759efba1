"""What the loopback server says: answers that follow from the prompt, and how faults spoil them.

Every answer is a pure function of the request, so that a test can compute what row *i* must hold.
"""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Callable, Mapping
from datetime import date
from hashlib import sha256
from typing import Any

from .cache import UNCACHED, Hit
from .media import sign_of
from .packs import packed_answer, questions_of
from .rules import ERRORS

__all__ = [
    "FAULTS",
    "THINKING_TOKENS",
    "Draw",
    "compose",
    "echo_of",
    "latency_of",
    "prompt_of",
    "row_numbers",
    "value_of",
]

Body = Mapping[str, Any]
Answer = Callable[[Any], str | dict[str, Any]]
Usage = Callable[[Any, str], Mapping[str, int]]
Latency = float | tuple[float, float] | str | Callable[[random.Random], float]

THINKING_TOKENS = 40
CHARS_A_TOKEN = 4
SHOWN = ("image", "document", "image_url", "file")
BILLED_FAULTS = frozenset(
    ("reset_after", "half", "malformed", "refusal", "refusal_text", "empty", "cut", "bad_schema")
)
LOST_FAULTS = frozenset({"reset_after", "half", "malformed"})
FAULTS = frozenset(ERRORS) | BILLED_FAULTS | {"reset_before", "hang", "html", "html_502"}
_ITEM = re.compile(r"(?:^|(?<=\s))\d+\. (.*)$", re.MULTILINE)
_LIST = re.compile(r"\[(\d+(?:, *\d+)*)\]")
# Deeper than any schema of ours; below it lists end and unions take null, so recursion ends.
DEEPEST = 6


def prompt_of(body: Any) -> str:
    """The text of the last user message; "" where there is none."""
    messages = body.get("messages") if isinstance(body, dict) else None
    for turn in reversed(messages if isinstance(messages, list) else []):
        if isinstance(turn, dict) and turn.get("role") == "user":
            return _text_of(turn.get("content"))
    return ""


def _text_of(content: Any) -> str:
    if isinstance(content, str):
        return content
    blocks = content if isinstance(content, list) else []
    # Blocks are read on as one text: a prompt in two blocks is the same prompt.
    return "".join(_word_of(block) for block in blocks if isinstance(block, dict))


def _word_of(block: Mapping[str, Any]) -> str:
    text = block.get("text")
    if isinstance(text, str):
        return text
    # What the model thinks is no part of a prompt; a picture is, by its content.
    return sign_of(block) if block.get("type") in SHOWN else ""


def echo_of(prompt: str) -> str:
    """The plain-text answer to a prompt."""
    return f"echo: {sha256(prompt.encode()).hexdigest()[:12]}"


def value_of(schema: Mapping[str, Any], prompt: str) -> Any:
    """A value that meets a JSON Schema and follows from the prompt alone."""
    return _Filler(schema, prompt).value(schema, "$", 0)


class _Filler:
    def __init__(self, root: Mapping[str, Any], prompt: str) -> None:
        self._root = root
        self._prompt = prompt

    def _number(self, path: str) -> int:
        return int.from_bytes(sha256(f"{path}\0{self._prompt}".encode()).digest()[:6])

    def value(self, schema: Mapping[str, Any], path: str, depth: int) -> Any:
        number = self._number(path)
        if "$ref" in schema:
            return self.value(self._target(schema["$ref"]), path, depth + 1)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return schema["enum"][number % len(schema["enum"])]
        for union in ("anyOf", "oneOf"):
            if union in schema:
                return self.value(_pick(schema[union], number, depth), path, depth + 1)
        if "allOf" in schema:
            merged = {key: part[key] for part in schema["allOf"] for key in part}
            return self.value(merged, path, depth + 1)
        return self._typed(schema, path, number, depth)

    def _typed(self, schema: Mapping[str, Any], path: str, number: int, depth: int) -> Any:
        kind = schema.get("type", "object" if "properties" in schema else "string")
        if isinstance(kind, list):
            kind = _pick([{"type": name} for name in kind], number, depth)["type"]
        if kind == "object":
            fields = schema.get("properties", {}).items()
            return {name: self.value(sub, f"{path}.{name}", depth + 1) for name, sub in fields}
        if kind == "array":
            least = schema.get("minItems", 0)
            count = least if depth >= DEEPEST else max(least, 1 + number % 3)
            item = schema.get("items", {})
            return [self.value(item, f"{path}[{at}]", depth + 1) for at in range(count)]
        return _scalar(kind, schema, number, self._prompt)

    def _target(self, ref: str) -> Mapping[str, Any]:
        node: Any = self._root
        for part in ref.removeprefix("#").split("/")[1:]:
            node = node[part.replace("~1", "/").replace("~0", "~")]
        found: Mapping[str, Any] = node
        return found


def _pick(choices: list[Mapping[str, Any]], number: int, depth: int) -> Mapping[str, Any]:
    null = next((choice for choice in choices if choice.get("type") == "null"), None)
    return null if null and depth >= DEEPEST else choices[number % len(choices)]


def _scalar(kind: str, schema: Mapping[str, Any], number: int, prompt: str) -> Any:
    if kind == "null":
        return None
    if kind == "boolean":
        return number % 2 == 0
    low = schema.get("minimum", 0)
    if kind == "integer" and schema.get("title") == "row number":
        rows = row_numbers(prompt)
        return rows[number % len(rows)]
    if kind == "integer":
        return int(low) + number % (int(schema.get("maximum", low + 99)) - int(low) + 1)
    if kind == "number":
        # By default quarters, exact in binary, so that a value survives any trip through a frame.
        return low + (number % 400) * (schema.get("maximum", low + 100) - low) / 400
    return _string(schema.get("format"), number)


def row_numbers(prompt: str) -> list[int]:
    """The numbers of rows that an answer may name: those of a list, or in the answers of one."""
    items = _ITEM.findall(prompt.rpartition("</request>")[2])
    if "</request>" not in prompt:
        return list(range(1, len(items) + 1)) or [1]
    lists = [int(it) for found in _LIST.findall(" ".join(items)) for it in found.split(",")]
    return list(dict.fromkeys(lists)) or [1]


def _string(form: str | None, number: int) -> str:
    day = date.fromordinal(date(2000, 1, 1).toordinal() + number % 9_000).isoformat()
    if form == "date":
        return day
    return f"{day}T12:00:00Z" if form == "date-time" else f"{number:012x}"


def schema_of(body: Body) -> Mapping[str, Any] | None:
    wanted = (body.get("output_config") or {}).get("format")
    schema: Mapping[str, Any] | None = wanted["schema"] if wanted else None
    return schema


def default_answer(body: Body) -> str:
    schema = schema_of(body)
    prompt = prompt_of(body)
    if schema is not None and questions_of(prompt) is not None:
        return json.dumps({"answers": packed_answer(schema, prompt, value_of, echo_of)})
    if schema is None and (asked := schema_in_words(body)) is not None:
        return (
            f"Sure!\n```json\n{json.dumps(value_of(asked, prompt))}\n```\nAnything else, {{you}}?"
        )
    return echo_of(prompt) if schema is None else json.dumps(value_of(schema, prompt))


def schema_in_words(body: Body) -> Mapping[str, Any] | None:
    """The schema that the system text asks for, where no other is."""
    _, asked, text = _text_of(body.get("system")).rpartition("JSON Schema:\n")
    schema: Mapping[str, Any] | None = json.loads(text) if asked else None
    return schema


def compose(
    body: Body,
    request_id: str,
    size: int,
    *,
    answer: Answer | None,
    thinking: bool,
    usage: Usage | None,
    fault: str | None,
    cached: Hit = UNCACHED,
) -> dict[str, Any]:
    """The whole message that answers `body`, a request of `size` bytes."""
    said = (answer or default_answer)(body)
    override = said if isinstance(said, dict) else {}
    text = said if isinstance(said, str) else _text_of(said.get("content")) or default_answer(body)
    text = _spoiled(text, fault)
    thought = THINKING_TOKENS if thinking and _thinks(body) else 0
    text, tokens, stop = _within(text, thought, body["max_tokens"], fault)
    message = {
        "id": request_id.replace("req_", "msg_"),
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": _content(text, thought, fault),
        "stop_reason": stop,
        "stop_sequence": None,
        "stop_details": _REFUSED if stop == "refusal" else None,
        "usage": _usage(size, tokens, thought, cached),
    }
    counted = dict(usage(body, text)) if usage else {}
    counted = {**message["usage"], **counted, **override.get("usage", {})}
    return {**message, **override, "usage": counted}


_REFUSED = {"type": "refusal", "category": "general_harms", "explanation": None}


def _spoiled(text: str, fault: str | None) -> str:
    if fault in ("refusal", "empty"):
        return ""
    if fault == "cut":
        return text[: len(text) // 2]
    return {"refusal_text": "I can't help with that.", "bad_schema": '{"unexpected": [1]}'}.get(
        fault or "", text
    )


def _thinks(body: Body) -> bool:
    kind = (body.get("thinking") or {}).get("type", "adaptive")
    return kind not in ("disabled", "between_tools")


def _within(text: str, thought: int, most: int, fault: str | None) -> tuple[str, int, str]:
    """The text that fits into `max_tokens`, what it is billed at, and why it stopped."""
    tokens = thought + max(1, len(text.encode()) // CHARS_A_TOKEN)
    if fault in ("refusal", "refusal_text"):
        return text, min(tokens, most), "refusal"
    if fault == "cut" or tokens > most:
        room = max(0, most - thought) * CHARS_A_TOKEN
        return text.encode()[:room].decode(errors="ignore"), most, "max_tokens"
    return text, tokens, "end_turn"


def _content(text: str, thought: int, fault: str | None) -> list[dict[str, str]]:
    if fault in ("refusal", "empty"):
        return []
    thinking = {"type": "thinking", "thinking": "Let me think.", "signature": "c2lnbmVk"}
    blocks = [thinking] if thought else []
    return [*blocks, {"type": "text", "text": text}] if text else blocks


def _usage(size: int, output: int, thought: int, cached: Hit) -> dict[str, Any]:
    total = max(1, size // CHARS_A_TOKEN)
    return {
        "input_tokens": total - cached.read - cached.written,
        "output_tokens": output,
        "output_tokens_details": {"thinking_tokens": min(thought, output)},
        "cache_creation_input_tokens": cached.written,
        "cache_read_input_tokens": cached.read,
        "service_tier": "standard",
    }


def latency_of(spec: Latency) -> Callable[[random.Random], float]:
    """Seconds to wait: S, (LOW, HIGH), "S", "LOW:HIGH", "lognormal:MEDIAN:SIGMA" or a function."""
    if callable(spec):
        return spec
    if isinstance(spec, tuple):
        return lambda rng: rng.uniform(*spec)
    if isinstance(spec, (int, float)):
        return lambda _rng: spec
    numbers = [float(part) for part in spec.removeprefix("lognormal:").split(":")]
    if len(numbers) == 2 and spec.startswith("lognormal:"):
        return lambda rng: rng.lognormvariate(math.log(numbers[0]), numbers[1])
    if len(numbers) > 2 or spec.startswith("lognormal:"):
        raise ValueError(f"latency {spec!r}: expected S, LOW:HIGH or lognormal:MEDIAN:SIGMA")
    return latency_of((numbers[0], numbers[-1]))


class Draw:
    """Faults by probability.

    The draw follows from seed, prompt and attempt, not from the order of arrival: a concurrent
    run meets the same faults every time.
    """

    def __init__(self, chances: Mapping[str, float], seed: int) -> None:
        check_names(chances)
        if sum(chances.values()) > 1:
            raise ValueError(f"the chances of {dict(chances)} add up to more than 1")
        self._chances = dict(chances)
        self._seed = seed

    def fault(self, prompt: str, attempt: int) -> str | None:
        if not self._chances:
            return None
        digest = sha256(f"{self._seed}:{attempt}:{prompt}".encode()).digest()
        drawn = int.from_bytes(digest[:8]) / 2**64
        for name, chance in self._chances.items():
            drawn -= chance
            if drawn < 0:
                return name
        return None


def check_names(names: Any) -> None:
    unknown = set(names) - FAULTS
    if unknown:
        raise ValueError(f"unknown faults {sorted(unknown)}; there are {sorted(FAULTS)}")
