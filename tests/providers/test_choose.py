"""Which provider answers."""

from __future__ import annotations

import sys
from decimal import Decimal
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from ondine_nb import Pipeline
from ondine_nb.errors import ConfigurationError, NoKeyError
from ondine_nb.models import Usage
from ondine_nb.providers import (
    FREE,
    KNOWN,
    LOCAL,
    KnownProvider,
    Provider,
    Settings,
    capabilities,
    choose,
    known,
)
from ondine_nb.providers.anthropic.client import AnthropicProvider
from ondine_nb.providers.choose import _profiles
from ondine_nb.providers.local import LocalProvider
from ondine_nb.providers.local import process as local
from ondine_nb.sending import question_key
from tests.asking import texts
from tests.echo import Echo

HAIKU = "claude-haiku-5-5"


def chosen(model: str = HAIKU, **given: object) -> AnthropicProvider:
    provider = choose(model, **given)  # type: ignore[arg-type]
    own = getattr(provider, "own", provider)
    assert isinstance(own, AnthropicProvider)
    return own if own is provider else provider  # type: ignore[return-value]


def test_without_a_key_a_model_can_answer_nothing_new_and_says_both_remedies() -> None:
    provider = chosen("claude-opus-5-5")
    assert (provider.model, provider.identity) == ("claude-opus-5-5", "anthropic")
    assert "ANTHROPIC_API_KEY" in keyless(provider)
    assert "-m local" in keyless(provider)


def keyless(provider: Provider) -> str:
    return capabilities(provider).unable


def test_the_embedded_model_is_asked_for_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-x")
    provider = chosen("local")
    assert isinstance(provider, LocalProvider)
    assert (provider.model, provider.price) == (local.MODEL_ID, FREE)
    assert provider.note
    assert provider.identity == f"local:{local.MODEL_SHA256[:16]}"
    assert not keyless(provider)


def test_behind_a_base_url_local_is_a_models_name_like_any_other() -> None:
    provider = chosen("local", base_url="http://127.0.0.1:8080")
    assert (provider.model, provider.identity) == ("local", "http://127.0.0.1:8080")


@pytest.mark.parametrize("name", ["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"])
def test_with_a_key_claude_answers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "sk-x")
    provider = chosen()
    assert not keyless(provider)
    assert (provider.model, provider.identity, provider.base_url) == (HAIKU, "anthropic", None)
    assert provider.price is not None
    assert provider.price.cost(Usage(1_000_000, 0)) > 0


def test_an_empty_key_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "")
    assert keyless(chosen())


def test_a_base_url_answers_with_or_without_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "http://127.0.0.1:8080"
    provider = chosen("my-llama", base_url=url)
    assert (provider.model, provider.identity, provider.price) == ("my-llama", url, None)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-x")
    assert chosen("my-llama", base_url=url).identity == url


def test_a_base_url_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:1")
    assert chosen().identity == "http://127.0.0.1:1"
    assert chosen(base_url="http://127.0.0.1:2").identity == "http://127.0.0.1:2"


def test_given_prices_reach_the_provider() -> None:
    provider = chosen("my-llama", base_url="http://h", price_in=Decimal(1), price_out=Decimal(2))
    assert provider.price is not None
    assert provider.price.cost(Usage(1_000_000, 1_000_000)) == 3


def test_a_folder_of_profiles_without_a_profile_is_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_CONFIG_DIR", str(tmp_path))
    assert _profiles() == tmp_path
    assert keyless(chosen())


def test_without_a_sign_of_a_key_the_sdk_isnt_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "anthropic", None)  # importing it would raise
    assert keyless(chosen())


# -- by prefix


def test_anthropics_own_prefix_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-x")
    plain, named = chosen(HAIKU), chosen(f"anthropic:{HAIKU}")
    assert (named.model, named.identity, named.price) == (plain.model, plain.identity, plain.price)
    at = chosen(f"anthropic:{HAIKU}", base_url="http://127.0.0.1:8080")
    assert (at.model, at.identity) == (HAIKU, "http://127.0.0.1:8080")


def test_a_cloud_that_lacks_something_says_what_and_the_embedded_model(home: Path) -> None:
    provider = choose("foundry:claude-haiku-5-5")
    assert (provider.identity, provider.model) == ("foundry", "claude-haiku-5-5")
    told = capabilities(provider).unable
    assert told.startswith("foundry:claude-haiku-5-5 can't be asked: set ANTHROPIC_FOUNDRY_API_KEY")
    assert told.endswith("or ask the embedded model with -m local")
    with pytest.raises(NoKeyError, match=r"^foundry:claude-haiku-5-5 can't be asked: set "):
        Pipeline(texts(2), "{text}", model="foundry:claude-haiku-5-5", journal=home).execute()


@pytest.mark.parametrize("option", ["batch", "pack"])
def test_what_cant_be_asked_may_still_have_batches_and_packs(option: str, home: Path) -> None:
    given = {"batch": True} if option == "batch" else {"pack": 2, "schema": "a: str"}
    for model in (HAIKU, "openai:gpt-5.4-mini"):
        Pipeline(texts(2), "{text}", model=model, journal=home, **given)


@pytest.mark.parametrize(
    "row", [row for row in KNOWN.values() if not row.batches], ids=lambda row: row.name
)
def test_batches_are_refused_in_one_line_where_they_havent_been_tried(
    home: Path, row: KnownProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://ours.openai.azure.com")
    model = row.name if row.name == LOCAL else f"{row.name}:some-model"
    with pytest.raises(ConfigurationError) as error:
        Pipeline(texts(2), "{text}", model=model, batch=True, journal=home)
    (line,) = str(error.value).splitlines()
    known_here = "(anthropic, openai, aws, gcloud)"
    assert line.startswith(f"--batch needs a provider whose batches are known here {known_here}, ")
    assert line.endswith("would answer: leave --batch out, or name a model of theirs with -m")


# -- an object, and a package's


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packages that offer a provider: one that works, three that don't."""
    points = [
        EntryPoint("echo", "tests.providers.test_choose:echo", known.ENTRY_POINTS),
        EntryPoint("gone", "no_such_package:Provider", known.ENTRY_POINTS),
        EntryPoint("raises", "tests.providers.test_choose:raises", known.ENTRY_POINTS),
        EntryPoint("other", "tests.providers.test_choose:Path", known.ENTRY_POINTS),
    ]
    for module in (known, sys.modules[choose.__module__]):
        monkeypatch.setattr(module, "entry_points", lambda group: points)


def echo(model: str) -> Echo:
    made = Echo(identity="echo of a package")
    made.model = model
    return made


def raises(model: str) -> Echo:
    raise RuntimeError(f"no\nlicence for {model}")


def test_a_package_offers_a_provider_by_its_prefix(packages: None, home: Path) -> None:
    provider = choose("echo:large:v2")
    assert (provider.identity, provider.model) == ("echo of a package", "large:v2")
    result = Pipeline(texts(2), "Say {text}", model="echo:large", journal=home).execute()
    assert list(result.data["response"]) == ["Say text 0", "Say text 1"]


@pytest.mark.parametrize(
    ("prefix", "says"),
    [
        ("gone", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("raises", "RuntimeError: no licence for large"),
        ("other", "is PosixPath, which has no identity"),
    ],
)
def test_a_broken_package_is_one_line_and_hurts_no_other(
    prefix: str, says: str, packages: None
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        choose(f"{prefix}:large")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert choose("echo:large").model == "large"
    assert choose(HAIKU).model == HAIKU


def test_a_packages_provider_knows_its_own_price(packages: None) -> None:
    with pytest.raises(ConfigurationError, match="leave --price-in and --price-out out"):
        choose("echo:large", price_in=Decimal(1), price_out=Decimal(1))


def test_an_object_as_model_answers(home: Path) -> None:
    own = Echo(identity="mine")
    pipeline = Pipeline(texts(2), "Say {text}", model=own, journal=home)
    assert pipeline.options.model == "echo"
    assert list(pipeline.execute().data["response"]) == ["Say text 0", "Say text 1"]
    with pytest.raises(ConfigurationError, match="give one of them"):
        Pipeline(texts(2), "{text}", model=own, provider=Echo())


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (3, "--model is int, which has no identity"),
        (Echo, "--model is the class Echo: give an object"),
    ],
)
def test_what_is_no_provider_is_said_before_anything_is_sent(given: object, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        Pipeline(texts(1), "{text}", model=given)


# -- Chat Completions, by prefix


@pytest.mark.parametrize("name", [name for name, row in KNOWN.items() if row.wire == "chat"])
def test_each_row_of_chat_completions_is_a_provider_at_its_address(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = KNOWN[name]
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://us.openai.azure.com/openai/v1/")
    provider = choose(f"{name}:some-model")
    told = capabilities(provider).unable
    if row.local:
        assert not told
    else:
        assert f"set {' or '.join(row.keys)}, or ask the embedded model with -m local" in told
    monkeypatch.setenv(row.keys[-1], "sk-x")
    keyed = choose(f"{name}:some-model")
    assert not capabilities(keyed).unable
    assert (keyed.model, keyed.identity) == ("some-model", provider.identity)
    assert row.at.rstrip("/") in keyed.identity


def test_no_two_providers_are_one_in_the_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://us.openai.azure.com/openai/v1/")
    found = [choose(f"{name}:m").identity for name in KNOWN if name != "local"]
    assert len(set(found)) == len(found)
    at = "http://127.0.0.1:8080/v2"  # one address, asked in two ways
    assert choose("openai:m", base_url=at).identity != choose("m", base_url=at).identity


@pytest.mark.parametrize(
    "spelling",
    [
        {"model": "groq:m", "base_url": None},
        {"model": "openai:m", "base_url": "https://api.groq.com/openai/v1"},
        {"model": "openai:m", "base_url": "HTTPS://API.groq.com:443/openai/v1/"},
        {"model": "vllm:m", "base_url": "https://me:secret@api.groq.com/openai/v1"},
    ],
)
def test_the_same_server_by_another_spelling_is_the_same(spelling: dict[str, Any]) -> None:
    assert choose(**spelling).identity == choose("groq:m").identity


def test_an_alias_and_a_dated_id_are_two_models_at_one_price(home: Path) -> None:
    settings = [Settings(model=name) for name in ("gpt-5.4", "gpt-5.4-2026-03-05")]
    providers = [choose(f"openai:{each.model}") for each in settings]
    keys = {
        question_key(provider.identity, each).digest()
        for provider, each in zip(providers, settings, strict=True)
    }
    assert len(keys) == 2
    assert providers[0].price == providers[1].price is not None


@pytest.mark.parametrize(
    ("model", "base_url", "free"),
    [
        ("ollama:qwen3:8b", None, True),
        ("llamacpp:m", "http://localhost:9000/v1", True),
        ("ollama:gpt-oss:120b-cloud", None, False),
        ("vllm:m", "https://gpu.example.com/v1", False),
        ("openai:m", "http://127.0.0.1:8080/v1", False),
    ],
)
def test_what_this_machine_answers_costs_nothing_and_all_else_stays_unknown(
    model: str, base_url: str | None, free: bool
) -> None:
    assert choose(model, base_url=base_url).price == (FREE if free else None)
