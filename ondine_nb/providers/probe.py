"""Probes whether a server enforces schemas: one short request tells, where nobody else does.

Some servers take a schema and let go of it without a word. So it is asked for what only the schema
allows, while the prompt asks for something else. What it told is kept in the journal folder.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from ..errors import FatalProviderError, OndineError, RejectedRequestError
from ..models import NO_USAGE, Usage
from .anthropic import AnthropicProvider
from .base import Answer, Provider, Settings, capabilities
from .catalog import keep_servers, servers_in, shown
from .openai import OpenAIProvider

__all__ = [
    "PROBE",
    "Probed",
    "by_chat",
    "enforces_schema",
    "is_enforced",
    "is_for_good",
    "keep_probed",
    "probe_settings",
    "probed",
    "refuses_schema",
]

PROBE = "What is the capital of France? Answer with its name in plain text, nothing else."
_ONLY = {"word": "qxv7-zk"}  # no model comes to say it by itself
_SCHEMA = {
    "type": "object",
    "properties": {"word": {"type": "string", "enum": [_ONLY["word"]]}},
    "required": ["word"],
    "additionalProperties": False,
}
_TOKENS = 256  # more than the answer has: some models think before it
_FILE = "schemas.json"
_OF_SCHEMA = re.compile(r"response_format|output_config|output_format|schema", re.IGNORECASE)


def probe_settings(model: str, timeout: float) -> Settings:
    """How `PROBE` is asked, for at most `timeout` seconds."""
    return Settings(model, max_tokens=_TOKENS, schema=_SCHEMA, timeout=timeout)


def is_enforced(answer: Answer) -> bool | None:
    """Whether an answer to `PROBE` came of the schema; None where it can't be told.

    That is where it is cut, refused or empty.
    """
    text = answer.text.strip()
    if not text or answer.stop_reason == "refusal" or (answer.cut and text.startswith("{")):
        return None
    try:
        return bool(json.loads(text) == _ONLY)
    except ValueError:
        return False


def refuses_schema(error: Exception) -> bool:
    """Whether a request was refused for its schema, as far as the error tells."""
    if isinstance(error, RejectedRequestError):
        return True
    return isinstance(error, FatalProviderError) and bool(_OF_SCHEMA.search(str(error)))


def is_for_good(error: Exception) -> bool:
    """Whether a request will be refused as this one was, as long as the server stays as it is."""
    return isinstance(error, FatalProviderError) and (
        refuses_schema(error) or "has no route" in str(error)
    )


async def enforces_schema(provider: Provider, timeout: float = 60.0) -> tuple[bool | None, Usage]:
    """Whether its server holds answers to a schema (None: it can't be told), and what that took.

    It is asked by a `clone` of `provider`, for at most `timeout` seconds; where there is none, and
    where the answer is cut, refused or none at all, it can't be told.
    """
    can = capabilities(provider)
    if can.clone is None:
        return None, NO_USAGE
    asked = can.clone()
    usage = NO_USAGE
    try:
        await asked.open(probe_settings(provider.model, timeout), 1)
        answer = can.read((await asked.send(PROBE)).body)
        usage = answer.usage
        return is_enforced(answer), usage
    except OndineError:
        return None, usage
    finally:
        await asked.close()


def by_chat(provider: Provider) -> OpenAIProvider | None:
    """Who asks the same server by its Chat Completions; None where there is no such way.

    That is where the server is Anthropic's own or a cloud, or is asked so already, and where the
    OpenAI SDK isn't installed.
    """
    if not isinstance(provider, AnthropicProvider) or provider.enforces_schemas is not None:
        return None
    if provider.row.client or provider.base_url is None:
        return None
    made = OpenAIProvider.at(
        f"{provider.base_url}/v1", provider.model, price=provider.price, access=provider.access
    )
    return None if made.unable else made


@dataclass(frozen=True, slots=True)
class Probed:
    """What a probe told of a server and a model, and the day it did."""

    enforced: bool
    as_of: date


def probed(folder: Path, provider: Provider) -> Probed | None:
    """What was told of the server and the model that `provider` asks; None for nothing.

    `folder` is the journal's.
    """
    with contextlib.suppress(KeyError, TypeError, ValueError):  # a copy: what is damaged is none
        told = servers_in(folder / _FILE)[shown(provider.identity)][provider.model]
        return Probed(bool(told["enforced"]), date.fromisoformat(told["as_of"]))
    return None


def keep_probed(folder: Path, provider: Provider, enforced: bool) -> None:
    """Keep what a probe told, by the server, its API and the model."""
    servers: dict[str, Any] = servers_in(folder / _FILE)
    models = servers.get(shown(provider.identity))
    models = dict(models) if isinstance(models, Mapping) else {}
    models[provider.model] = {"enforced": enforced, "as_of": date.today().isoformat()}
    keep_servers(folder / _FILE, {**servers, shown(provider.identity): models})
