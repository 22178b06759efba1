"""Probes whether a server enforces schemas: one short request tells, where nobody else does.

Some servers take a schema and let go of it without a word. So it is asked for what only the schema
allows, while the prompt asks for something else.
"""

from __future__ import annotations

import json

from ..errors import OndineError
from ..models import NO_USAGE, Usage
from .base import Answer, Provider, Settings, capabilities

__all__ = ["enforces_schema"]

_PROMPT = "What is the capital of France? Answer with its name in plain text, nothing else."
_ONLY = {"word": "qxv7-zk"}  # no model comes to say it by itself
_SCHEMA = {
    "type": "object",
    "properties": {"word": {"type": "string", "enum": [_ONLY["word"]]}},
    "required": ["word"],
    "additionalProperties": False,
}
_TOKENS = 256  # more than the answer has: some models think before it


async def enforces_schema(provider: Provider, timeout: float = 60.0) -> tuple[bool | None, Usage]:
    """Whether its server holds answers to a schema (None: it can't be told), and what that took.

    It is asked by a `clone` of `provider`, for at most `timeout` seconds; where there is none, and
    where the answer is cut, refused or none at all, it can't be told.
    """
    can = capabilities(provider)
    if can.clone is None:
        return None, NO_USAGE
    asked = can.clone()
    settings = Settings(provider.model, max_tokens=_TOKENS, schema=_SCHEMA, timeout=timeout)
    usage = NO_USAGE
    try:
        await asked.open(settings, 1)
        answer = can.read((await asked.send(_PROMPT)).body)
        usage = answer.usage
        return _is_held(answer), usage
    except OndineError:
        return None, usage
    finally:
        await asked.close()


def _is_held(answer: Answer) -> bool | None:
    text = answer.text.strip()
    if not text or answer.stop_reason == "refusal" or (answer.cut and text.startswith("{")):
        return None
    try:
        return bool(json.loads(text) == _ONLY)
    except ValueError:
        return False
