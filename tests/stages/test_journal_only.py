"""A named model is never overruled, and without its key its answers come from the journal alone."""

from __future__ import annotations

import asyncio
import builtins
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from ondine_nb import Pipeline, Run
from ondine_nb.errors import ConfigurationError, NoKeyError
from ondine_nb.providers import Reply, Settings
from ondine_nb.providers.anthropic.client import AnthropicProvider
from ondine_nb.providers.local import MODEL_ID
from tests.asking import echoes, ended, texts
from tests.echo import Echo
from tests.server import MessagesServer

PROMPT = "Tell: {text}"
SONNET = "claude-sonnet-5-5"
HAIKU = "claude-haiku-5-5"


@pytest.fixture(autouse=True)
def embedded(server: MessagesServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded model is this server: who is asked is told by the model's name."""
    known = SimpleNamespace(url=server.url, key="its-own")
    monkeypatch.setattr("ondine_nb.providers.local.provider.shared", lambda: known)


def paid(data: Any, home: Path, server: MessagesServer, model: str = HAIKU, **options: Any) -> None:
    """Answers of somebody with a key."""
    theirs = AnthropicProvider(model, base_url=server.url, identity="anthropic")
    assert Pipeline(data, PROMPT, provider=theirs, journal=home, **options).execute().success


def run_of(data: Any, home: Path, **options: Any) -> Run:
    run = Run(Pipeline(data, PROMPT, journal=home, **options))
    asyncio.run(ended(run))
    return run


def models_asked(server: MessagesServer) -> set[str]:
    return {entry.model for entry in server.ledger.entries}


@pytest.mark.parametrize("way", [{}, {"pack": 5}, {"batch": True}, {"fresh": True}])
@pytest.mark.parametrize("model", [SONNET, HAIKU])
def test_a_named_model_without_its_key_is_an_error_before_anything_is_sent(
    model: str, way: dict[str, Any], home: Path, server: MessagesServer
) -> None:
    with pytest.raises(ConfigurationError, match=f"no key for '{model}'") as caught:
        Pipeline(texts(3), PROMPT, model=model, journal=home, **way).execute()
    assert isinstance(caught.value, NoKeyError)
    assert "set ANTHROPIC_API_KEY" in str(caught.value)
    assert "-m local" in str(caught.value)
    assert server.requests == []


@pytest.mark.parametrize("blank", [" ", "\n"])
def test_a_blank_key_is_none(blank: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a secret that isn't set often comes: it was sent, and the API said that it is wrong."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", blank)
    with pytest.raises(NoKeyError, match=f"no key for '{SONNET}'"):
        Pipeline(texts(3), PROMPT, model=SONNET, journal=home).execute()


@pytest.mark.parametrize("named", [{}, {"model": HAIKU}])
def test_answers_in_the_journal_need_no_key(
    named: dict[str, str], home: Path, server: MessagesServer
) -> None:
    paid(texts(30), home, server)
    sent = len(server.requests)
    run = run_of(texts(30), home, **named)
    assert list(run.frame["response"]) == echoes(texts(30))
    assert (run.state, run.cost, len(server.requests)) == ("done", 0, sent)
    assert set(run.rows["status"]) == {"journal"}
    assert run.context.metrics.message == ""


@pytest.mark.parametrize("how", [{}, {"model": HAIKU}, {"pack": 5}, {"batch": True}])
@pytest.mark.parametrize("executor", ["async", "streaming", "sync"])
def test_rows_that_the_journal_lacks_are_not_run_and_no_other_model_answers_them(
    how: dict[str, Any],
    executor: str,
    home: Path,
    server: MessagesServer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    paid(texts(5, 10), home, server)
    sent = len(server.requests)
    run = run_of(texts(25), home, executor=executor, chunk_size=4, **how)
    have = list(range(10, 15))
    assert list(run.frame["response"].dropna()) == echoes(texts(5, 10))
    assert list(run.frame.index[run.frame["response"].notna()]) == have
    if executor != "streaming":
        assert list(run.rows["status"]) == [
            "journal" if at in have else "not_run" for at in range(25)
        ]
    assert (run.state, run.error, len(server.requests)) == ("stopped", None, sent)
    assert run.result is not None
    assert not run.result.success
    (line,) = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert line == run.context.metrics.message
    assert line.startswith("5 rows have their answers from the journal, 20 were not run: there is")
    assert "\n" not in line


def test_where_nobody_named_a_model_and_nothing_is_journaled_the_embedded_model_answers(
    home: Path, server: MessagesServer, caplog: pytest.LogCaptureFixture
) -> None:
    paid(texts(5, 100), home, server)  # of other rows
    run = run_of(texts(5), home)
    assert (run.state, run.model) == ("done", MODEL_ID)
    assert models_asked(server) == {HAIKU, MODEL_ID}
    warnings = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == [run.note]
    assert "No API key found" in run.note


def test_a_notebook_has_the_note_on_its_card_and_no_warning(
    home: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builtins, "__IPYTHON__", True, raising=False)
    assert run_of(texts(2), home).note
    assert caplog.records == []


def test_the_embedded_model_that_is_asked_for_answers_with_a_key_too_and_needs_no_warning(
    home: Path,
    server: MessagesServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-x")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:1")
    run = run_of(texts(2), home, model="local")
    assert (run.state, models_asked(server)) == ("done", {MODEL_ID})
    assert "very small model" in run.note
    assert "No API key" not in run.note
    assert caplog.records == []


def test_a_preview_of_an_unnamed_model_is_the_embedded_models_too(
    home: Path, server: MessagesServer
) -> None:
    Pipeline(texts(9), PROMPT, journal=home).preview(2)
    assert models_asked(server) == {MODEL_ID}
    with pytest.raises(NoKeyError):
        Pipeline(texts(9), PROMPT, model=SONNET, journal=home).preview(2)


def test_a_run_of_the_embedded_model_goes_on_with_it_and_anothers_does_not(
    home: Path, server: MessagesServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(texts(3), home)
    resumed = Pipeline.resume(run.id, texts(3), journal=home)
    assert resumed.model == MODEL_ID
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-x")
    keyed = Run(Pipeline(texts(3), PROMPT, journal=home))
    keyed.plan.record()
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    with pytest.raises(NoKeyError):
        Pipeline.resume(keyed.id, texts(3), journal=home).execute()


class Short(Echo):
    """Says as much as fits, as the model of somebody with a key."""

    model = HAIKU

    async def open(self, settings: Settings, concurrency: int) -> None:
        self.most = settings.max_tokens

    async def send(self, prompt: str) -> Reply:
        reply = await super().send(prompt)
        reason = b"max_tokens" if len(prompt) > self.most else b"end_turn"
        return Reply(reply.body.replace(b"end_turn", reason))


def test_a_cut_answer_is_none_where_a_longer_one_was_asked_for(
    home: Path, server: MessagesServer
) -> None:
    data = pd.DataFrame({"text": ["word " * 50, "b"]})
    theirs = Short(identity="anthropic")
    Pipeline(data, PROMPT, provider=theirs, journal=home, max_tokens=20).execute()
    assert list(run_of(data, home, max_tokens=20).rows["status"]) == ["failed", "journal"]
    assert list(run_of(data, home, max_tokens=500).rows["status"]) == ["not_run", "journal"]


def test_an_estimate_without_a_key_is_rough_and_sends_nothing(
    home: Path, server: MessagesServer
) -> None:
    estimate = Pipeline(texts(9), PROMPT, model=SONNET, journal=home).estimate()
    assert (estimate.confidence, estimate.rows, server.requests) == ("rough", 9, [])
    assert estimate.total_cost
