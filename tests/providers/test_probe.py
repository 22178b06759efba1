"""Whether a schema is enforced is tried where nobody says it."""

from __future__ import annotations

import asyncio
import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ondine_nb.models import NO_USAGE
from ondine_nb.providers import (
    KNOWN,
    OpenAIProvider,
    Probed,
    by_chat,
    enforces_schema,
    keep_probed,
    probed,
)
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
    with MessagesServer(answer=answer, bills_probes=True) as server:
        told, usage = await enforces_schema(asked(api, server))
        assert server.ledger.requests == 1
        assert usage.output_tokens == server.ledger.entries[0].output_tokens
    assert told is held


@pytest.mark.parametrize("fault", ["cut", "refusal", "500", "reset_before", "malformed", "401"])
async def test_what_has_no_answer_does_not_tell(fault: str) -> None:
    with MessagesServer(plan=lambda _body, _attempt: fault, bills_probes=True) as server:
        told, usage = await enforces_schema(asked("chat", server))
        billed = server.ledger.requests
    assert told is None
    assert (usage != NO_USAGE) == (billed > 0 and fault != "malformed")


async def test_a_provider_that_cannot_be_had_twice_is_not_asked() -> None:
    own = Echo(identity="mine")
    assert await enforces_schema(own) == (None, NO_USAGE)


# -- what it told, kept for the server


def test_what_it_told_is_kept_by_server_api_and_model(tmp_path: Path) -> None:
    """The same server by another spelling is the same, and its password is nowhere."""
    spelled = AnthropicProvider("m", base_url="HTTP://me:secret@Box:80/")
    keep_probed(tmp_path, spelled, False)
    assert probed(tmp_path, AnthropicProvider("m", base_url="http://box")) == Probed(
        False, date.today()
    )
    for other in (
        AnthropicProvider("n", base_url="http://box"),
        AnthropicProvider("m", base_url="http://box:81"),
        OpenAIProvider("m", base_url="http://box"),
    ):
        assert probed(tmp_path, other) is None
        keep_probed(tmp_path, other, True)
    told = probed(tmp_path, spelled)
    assert told is not None
    assert told.enforced is False
    assert "secret" not in (tmp_path / "schemas.json").read_text()
    keep_probed(tmp_path, spelled, True)  # renewed
    assert probed(tmp_path, spelled) == Probed(True, date.today())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"format": 9}',
        '{"format": 1, "servers": []}',
        '{"format": 1, "servers": {"http://box": 3}}',
        '{"format": 1, "servers": {"http://box": {"m": {}}}}',
        '{"format": 1, "servers": {"http://box": {"m": {"enforced": true, "as_of": "soon"}}}}',
    ],
)
def test_a_damaged_file_tells_nothing_and_is_written_anew(tmp_path: Path, text: str) -> None:
    (tmp_path / "schemas.json").write_text(text)
    asked = AnthropicProvider("m", base_url="http://box")
    assert probed(tmp_path, asked) is None
    keep_probed(tmp_path, asked, True)
    assert probed(tmp_path, asked) == Probed(True, date.today())


# -- the other API of a server


def test_the_other_api_is_asked_with_what_the_server_lets_in_and_at_its_price() -> None:
    prices = {"price_in": Decimal(1), "price_out": Decimal(2)}
    made = AnthropicProvider("m", base_url="http://me:secret@box/gate", api_key="mine", **prices)
    chat = by_chat(made)
    assert chat is not None
    assert (chat.identity, chat.model, chat.price) == ("chat:http://box/gate/v1", "m", made.price)
    assert made.access == ("mine", chat._login, chat._secret)
    assert "mine" not in repr(vars(chat)).replace("'_api_key': 'mine'", "")


def test_no_other_servers_key_goes_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-openai")
    with MessagesServer(drops_schema=["messages"], bills_probes=True) as server:
        chat = by_chat(AnthropicProvider("m", base_url=server.url))
        assert chat is not None
        assert asyncio.run(enforces_schema(chat))[0] is True
        sent = server.requests[-1].headers
    assert not any("sk-of-openai" in value for value in sent.values())


def test_what_has_no_other_api_has_none() -> None:
    assert by_chat(AnthropicProvider("claude-haiku-5-5")) is None
    assert by_chat(AnthropicProvider("claude-haiku-5-5", row=KNOWN["foundry"])) is None
    assert by_chat(OpenAIProvider("m", base_url="http://box")) is None
    assert by_chat(Echo()) is None
