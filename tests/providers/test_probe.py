"""Whether a schema is enforced is tried where nobody says it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ondine_nb.models import NO_USAGE
from ondine_nb.providers import OpenAIProvider, enforces_schema
from ondine_nb.providers.anthropic import AnthropicProvider
from tests.echo import Echo
from tests.server import MessagesServer


def asked(api: str, server: MessagesServer) -> Any:
    if api == "chat":
        return OpenAIProvider("m", base_url=server.url, api_key="k")
    return AnthropicProvider("m", base_url=server.url, api_key="k")


def dropping(_body: Any) -> str:
    """A server that lets go of the schema without a word."""
    return "Paris"


def in_words(_body: Any) -> str:
    """One that only asks the model for JSON."""
    return json.dumps({"word": "Paris"})


@pytest.mark.parametrize("api", ["messages", "chat"])
@pytest.mark.parametrize(("answer", "held"), [(None, True), (dropping, False), (in_words, False)])
async def test_only_an_answer_that_the_schema_brought_about_says_that_it_is_enforced(
    api: str, answer: Any, held: bool
) -> None:
    with MessagesServer(answer=answer) as server:
        told, usage = await enforces_schema(asked(api, server))
        assert server.ledger.requests == 1
        assert usage.output_tokens == server.ledger.entries[0].output_tokens
    assert told is held


@pytest.mark.parametrize("fault", ["cut", "refusal", "500", "reset_before", "malformed", "401"])
async def test_what_has_no_answer_does_not_tell(fault: str) -> None:
    with MessagesServer(plan=lambda _body, _attempt: fault) as server:
        told, usage = await enforces_schema(asked("chat", server))
        billed = server.ledger.requests
    assert told is None
    assert (usage != NO_USAGE) == (billed > 0 and fault != "malformed")


async def test_a_provider_that_cannot_be_had_twice_is_not_asked() -> None:
    own = Echo(identity="mine")
    assert await enforces_schema(own) == (None, NO_USAGE)
