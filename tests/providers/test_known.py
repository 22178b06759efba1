"""The table of providers, and how a model's name is split."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ondine_nb.errors import ConfigurationError
from ondine_nb.providers import known
from ondine_nb.providers.known import KNOWN, split_model

WIRES = ["anthropic", "openai", "ollama", "vllm", "lmstudio", "llamacpp"]
PREFIXES = [name for name in KNOWN if name != "local"]
# A model's name as people have them: slashes, colons, dots, dashes.
models = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9./:_@-]{0,40}", fullmatch=True)


def named(name: str, base_url: str | None = None) -> tuple[str, str]:
    row, model = split_model(name, base_url)
    return row.name, model


@given(st.sampled_from(PREFIXES), models)
def test_a_known_prefix_is_split_off_at_the_first_colon(prefix: str, model: str) -> None:
    assert named(f"{prefix}:{model}") == (prefix, model)


@given(models.filter(lambda name: ":" not in name and name != "local"))
def test_a_name_without_a_prefix_is_anthropics(name: str) -> None:
    assert named(name) == ("anthropic", name)


@given(models)
def test_what_is_split_can_be_put_together_again(name: str) -> None:
    for base_url in (None, "http://127.0.0.1:8080"):
        try:
            row, model = split_model(name, base_url)
        except ConfigurationError:
            continue
        assert name in (model, f"{row.name}:{model}")


@given(st.sampled_from(PREFIXES), models)
def test_at_a_base_url_only_a_prefix_that_names_a_wire_is_split_off(p: str, model: str) -> None:
    whole = f"{p}:{model}"
    found = named(whole, "http://127.0.0.1:8080")
    assert found == ((p, model) if p in WIRES else ("anthropic", whole))


@pytest.mark.parametrize("name", ["mistral:7b", "local", "qwen3:0.6b", "anthropic.claude-v2:0"])
def test_a_servers_own_name_may_have_a_colon(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert named(name, "http://127.0.0.1:8080") == ("anthropic", name)
    if name != "local":
        monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:8080")
        assert named(name) == ("anthropic", name)


def test_local_alone_is_the_embedded_model() -> None:
    assert named("local") == ("local", "local")
    with pytest.raises(ConfigurationError, match=r"-m local:phi: .* write -m local$"):
        split_model("local:phi")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("opnai:gpt-5.4", "there is no provider 'opnai' .* Did you mean openai:gpt-5.4?"),
        ("OpenAI:gpt-5.4", "Did you mean openai:gpt-5.4?"),
        ("mistal:7b", "Did you mean mistral:7b?"),
        ("ft:gpt-4o:org", "there is no provider 'ft' "),
        ("http://127.0.0.1:8080", "is a server's address: give that with --base-url"),
        ("openai:", "-m openai: names no model: write openai:MODEL"),
        ("groq: ", "names no model"),
    ],
)
def test_a_prefix_that_names_no_provider_is_an_error_with_the_remedy(name: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says) as caught:
        split_model(name)
    assert "\n" not in str(caught.value)


def test_a_packages_prefix_is_known_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("acme", "no_such_package:Provider", known.ENTRY_POINTS)
    monkeypatch.setattr(known, "entry_points", lambda group: [point])
    row, model = split_model("acme:large:v2")
    assert (row.name, row.wire, model) == ("acme", "package", "large:v2")
    with pytest.raises(ConfigurationError, match="Did you mean acme:large"):
        split_model("acne:large")
    assert named("acme:large", "http://127.0.0.1:8080") == ("anthropic", "acme:large")


def test_the_first_variable_that_is_set_holds_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GEMINI_API_KEY", "GOOGLE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    assert KNOWN["gemini"].key is None
    monkeypatch.setenv("GOOGLE_API_KEY", "second")
    assert KNOWN["gemini"].key == "second"
    monkeypatch.setenv("GEMINI_API_KEY", "first")
    assert KNOWN["gemini"].key == "first"
    for blank in ("", " \n"):
        monkeypatch.setenv("GEMINI_API_KEY", blank)
        assert KNOWN["gemini"].key == "second"
    monkeypatch.setenv("GOOGLE_API_KEY", " ")
    assert KNOWN["gemini"].key is None


def test_every_price_is_found_under_an_id_of_the_price_table() -> None:
    from genai_prices import data_snapshot

    priced = {provider.id for provider in data_snapshot.get_snapshot().providers}
    assert {row.prices for row in KNOWN.values() if row.prices} <= priced


def test_every_clouds_client_is_one_of_the_installed_sdk() -> None:
    anthropic = pytest.importorskip("anthropic")
    clients = [row.client for row in KNOWN.values() if row.client]
    assert len(clients) == 5
    assert all(hasattr(anthropic, client) for client in clients)


def test_the_table_is_read_without_any_sdk() -> None:
    code = (
        "import sys; import ondine_nb.providers.known as known\n"
        "known.split_model('openai:gpt-5.4'); known.split_model('claude-haiku-5-5')\n"
        "print([name for name in ('anthropic', 'openai', 'genai_prices') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
