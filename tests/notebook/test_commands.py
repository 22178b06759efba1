"""What `%ondine models` and `%ondine doctor` say of providers."""

from __future__ import annotations

from pathlib import Path

import pytest

from ondine_nb import Pipeline, Run
from ondine_nb.errors import ConfigurationError
from ondine_nb.notebook.commands import examined, models
from ondine_nb.providers import KNOWN, keep, model_names
from tests.asking import texts
from tests.echo import Echo
from tests.server import MessagesServer

KEY = "cloud-very-secret-0123456789"


@pytest.fixture
def platform(server: MessagesServer, monkeypatch: pytest.MonkeyPatch) -> MessagesServer:
    """The tests' server as Claude's platform on AWS, the only provider that there is a key for."""
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    monkeypatch.setenv("ANTHROPIC_AWS_API_KEY", KEY)
    monkeypatch.setenv("ANTHROPIC_AWS_WORKSPACE_ID", "wrkspc_1")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("ANTHROPIC_AWS_BASE_URL", server.url)
    return server


def test_models_are_listed_by_provider_and_the_others_with_what_they_need(
    platform: MessagesServer,
) -> None:
    told = models("", None)
    lines = told.splitlines()
    at = lines.index("Claude Platform on AWS: -m aws:NAME")
    assert any(line.startswith("  claude-haiku-5-5 ") and "$0.1 in" in line for line in lines[at:])
    assert "  foundry: set ANTHROPIC_FOUNDRY_API_KEY and ANTHROPIC_FOUNDRY_RESOURCE" in lines
    assert KEY not in told
    for name in set(KNOWN) - {"anthropic"}:  # each is there, or how to get it
        assert any(name in line for line in lines), name
    assert "This machine: -m local" in lines
    assert "With ANTHROPIC_API_KEY set:" in lines


def test_one_providers_models_are_all_there_by_its_prefix(platform: MessagesServer) -> None:
    for line in ("aws", "aws:"):
        told = models(line, None)
        assert "claude-haiku-5-5" in told
        assert "Others:" not in told
    assert "foundry" not in told
    assert models("foundry", None).startswith("Microsoft Foundry can't be asked here: set ANTH")


def test_what_a_provider_told_is_offered_where_there_is_its_key(
    platform: MessagesServer, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert model_names(home) == ["local"]
    models("aws", None)
    assert "aws:claude-haiku-5-5" in model_names(home)
    monkeypatch.delenv("ANTHROPIC_AWS_API_KEY")
    monkeypatch.setenv("ANTHROPIC_AWS_WORKSPACE_ID", "")
    assert model_names(home, ["claude-usual"]) == ["local"]
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    assert model_names(home, ["claude-usual"]) == ["claude-usual", "local"]


def test_at_a_base_url_of_the_environment_no_prefix_is_offered_that_isnt_split_off(
    platform: MessagesServer, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models("aws", None)
    monkeypatch.setenv("ANTHROPIC_BASE_URL", platform.url)
    assert not any(name.startswith("aws:") for name in model_names(home))
    lines = models("", None).splitlines()
    assert "Anthropic: -m NAME" in lines
    assert not any("-m aws:" in line for line in lines)
    told = next(line for line in lines if line.startswith("  azure, "))
    assert "aws" in told
    assert told.endswith(": unset ANTHROPIC_BASE_URL: the server there is asked for the whole name")


def test_a_provider_that_cant_be_reached_shows_what_it_told_before(
    platform: MessagesServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = models("aws", None)
    platform.stop()
    told = models("aws", None)
    assert told.startswith("The list can't be had: ")
    assert told.endswith(asked)
    assert "claude-haiku-5-5" in models("", None)


def test_of_many_models_those_with_a_price_come_first_and_the_others_are_counted(
    platform: MessagesServer, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"model-{n}" for n in range(30)] + ["claude-haiku-5-5"]
    monkeypatch.setattr(platform, "_models", names)
    lines = models("", None).splitlines()
    at = lines.index("Claude Platform on AWS: -m aws:NAME")
    assert lines[at + 1].startswith("  claude-haiku-5-5 ")
    assert "  … and 19 more: %ondine models aws" in lines
    assert len(models("aws", None).splitlines()) == 31


def test_a_prefix_that_names_no_provider_is_an_error_with_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match="Did you mean mistral") as caught:
        models("mistrl", None)
    assert "'mistrl'" in str(caught.value)


def test_lists_of_any_servers_form_are_read(home: Path) -> None:
    listed = keep(
        home,
        "somewhere",
        [
            {"id": "models/gemini-3.8-flash", "object": "model"},
            {"id": "llama", "context_window": 131_072, "max_completion_tokens": 32_768},
            {"id": "qwen", "context_length": 40_960, "capabilities": ["completion"]},
            {"id": "text-embedding-3-small"},
            {"object": "no model"},
        ],
    )
    assert [model.id for model in listed.models[:3]] == ["gemini-3.8-flash", "llama", "qwen"]
    assert [model.max_input_tokens for model in listed.models[:3]] == [None, 131_072, 40_960]
    assert [model.writes for model in listed.models] == [True, True, True, False]


# -- a model, examined


def fact(told: str, name: str) -> str:
    """What stands behind a name in a doctor's list."""
    return next(line for line in told.splitlines() if line.startswith(name))[len(name) :].strip()


def examine(model: object, url: str | None = None) -> str:
    return examined(model, url, None, None)


def test_one_short_request_tells_what_a_server_can(platform: MessagesServer) -> None:
    told = examine("aws:claude-haiku-5-5")
    assert fact(told, "answers").startswith("yes, after ")
    assert fact(told, "usage reported").startswith("yes, ")
    assert fact(told, "tokens counted").startswith("yes, ")
    assert fact(told, "rate headers") == "none: the rate is found as a run goes"
    assert fact(told, "longest prompt") == "1,000,000 tokens"
    assert fact(told, "listed") == "yes"
    assert fact(told, "price").startswith("$0.1 in, $0.5 out")
    assert fact(told, "batches") == "yes"
    assert fact(told, "cost of this") == f"${platform.ledger.cost('0.1', '0.5')}"
    assert platform.ledger.requests == 1
    assert KEY not in told


def test_what_a_server_doesnt_tell_is_said_too(server: MessagesServer) -> None:
    told = examine("claude-haiku-4-5", server.url)
    assert fact(told, "provider") == server.url
    assert fact(told, "schema enforced") == "yes, tried just now"
    with MessagesServer(answer=lambda _body: "Paris", bills_probes=True) as dropping:
        told = examine("claude-haiku-4-5", dropping.url)
        assert dropping.ledger.requests == 3
    assert fact(told, "schema enforced") == "no, tried just now: a run asks for it in words"
    assert fact(told, "cost of this") == f"${dropping.ledger.cost(1, 5)}"
    with MessagesServer(plan=lambda body, attempt: "401") as refusing:
        told = examine("claude-haiku-4-5", refusing.url)
    assert fact(told, "answers").startswith("no: ")
    assert "cost of this" not in told


def test_what_a_probe_told_is_kept_for_runs_shown_and_renewed(home: Path) -> None:
    with MessagesServer(drops_schema=["messages"]) as server:
        told = examine("claude-haiku-4-5", server.url)
        said = "no, tried just now: a run asks by its Chat Completions, where it is"
        assert fact(told, "schema enforced") == said
        options = {"base_url": server.url, "schema": "good: bool", "journal": home}
        run = Run(Pipeline(texts(2), "{text}", model="claude-haiku-4-5", **options))
        run.execute()
        assert "asked by its Chat Completions" in run.note
        assert server.probes == {"messages": 1, "chat": 1}  # the doctor's
        server._drops = frozenset()
        assert fact(examine("claude-haiku-4-5", server.url), "schema enforced")[:3] == "yes"
        assert server.probes == {"messages": 2, "chat": 1}
    assert fact(examine("claude-haiku-4-5", server.url), "schema enforced").startswith(
        "yes, as a probe of "
    )  # it is gone by now


def test_a_model_that_lacks_its_key_is_said_to_and_nothing_is_sent() -> None:
    told = examine("foundry:claude-haiku-5-5")
    assert "set ANTHROPIC_FOUNDRY_API_KEY" in fact(told, "can't be asked")
    assert "answers" not in told


def test_a_provider_of_ones_own_is_examined_too() -> None:
    own = Echo(identity="mine")
    told = examine(own)
    assert (fact(told, "provider"), fact(told, "price")[:13]) == ("mine", "price unknown")
    assert fact(told, "usage reported") == "yes, 5 tokens in, 4 out"
    assert fact(told, "cost of this") == "unknown"
    assert (fact(told, "images"), fact(told, "longest prompt")) == ("it doesn't say",) * 2
    assert len(own.asked or ()) == 1
    with pytest.raises(ConfigurationError, match="--model is int"):
        examine(3)


def test_limits_are_told_as_the_headers_have_them() -> None:
    with MessagesServer(limits={"requests": 50, "tokens": 30_000}) as server:
        assert fact(examine("claude-haiku-4-5", server.url), "rate headers").startswith(
            "50 requests"
        )
