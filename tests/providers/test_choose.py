"""Which provider answers."""

from __future__ import annotations

import sys
from decimal import Decimal
from pathlib import Path

import pytest

from ondine_nb.models import Usage
from ondine_nb.providers import FREE, capabilities, choose
from ondine_nb.providers.anthropic.client import AnthropicProvider
from ondine_nb.providers.choose import _profiles
from ondine_nb.providers.local import LocalProvider
from ondine_nb.providers.local import process as local

HAIKU = "claude-haiku-5-5"


def chosen(model: str = HAIKU, **given: object) -> AnthropicProvider:
    provider = choose(model, **given)  # type: ignore[arg-type]
    assert isinstance(provider, AnthropicProvider)
    return provider


def test_without_a_key_a_model_can_answer_nothing_new_and_says_both_remedies() -> None:
    provider = chosen("claude-opus-5-5")
    assert (provider.model, provider.identity) == ("claude-opus-5-5", "anthropic")
    assert "ANTHROPIC_API_KEY" in keyless(provider)
    assert "-m local" in keyless(provider)


def keyless(provider: AnthropicProvider) -> str:
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
