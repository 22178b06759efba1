"""Claude in the clouds, by the SDK's own clients, against a server that has their routes."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from ondine_nb.errors import (
    ConfigurationError,
    FatalProviderError,
    OverloadedError,
    RateLimitedError,
    RejectedRequestError,
    ServerError,
)
from ondine_nb.providers import KNOWN, Answer, Settings, capabilities
from ondine_nb.providers.anthropic import AnthropicProvider, clouds
from tests.patience import PATIENCE
from tests.server import MessagesServer, echo_of

KEY = "cloud-very-secret-0123456789"
INVOKED = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
# Where a key alone is enough, no library that signs is needed.
BY_KEY = [
    ("bedrock", "AWS_BEARER_TOKEN_BEDROCK", INVOKED),
    ("bedrock", "AWS_BEARER_TOKEN_BEDROCK", "anthropic.claude-haiku-5-5"),
    ("foundry", "ANTHROPIC_FOUNDRY_API_KEY", "claude-haiku-5-5"),
    ("aws", "ANTHROPIC_AWS_API_KEY", "claude-haiku-5-5"),
]


def cloud(name: str, model: str, url: str, monkeypatch: pytest.MonkeyPatch) -> AnthropicProvider:
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("ANTHROPIC_AWS_WORKSPACE_ID", "wrkspc_1")
    monkeypatch.setenv(KNOWN[name].url_variable, url)
    return AnthropicProvider(model, row=KNOWN[name])


async def asked(provider: AnthropicProvider, *prompts: str, **settings: Any) -> list[str]:
    await provider.open(Settings(model=provider.model, **{"timeout": PATIENCE, **settings}), 4)
    try:
        return [Answer.read((await provider.send(prompt)).body).text for prompt in prompts]
    finally:
        await provider.close()


@pytest.mark.parametrize(("name", "variable", "model"), BY_KEY)
async def test_it_answers_by_its_key_in_the_clouds_own_way(
    name: str, variable: str, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, KEY)
    with MessagesServer() as server:
        provider = cloud(name, model, server.url, monkeypatch)
        answers = await asked(provider, "one", "two", system="Be brief.", effort="low")
        assert answers == [echo_of("one"), echo_of("two")]
        paths = {call.removeprefix("POST ") for call in server.calls}
        assert paths == {f"/model/{INVOKED}/invoke" if model == INVOKED else "/v1/messages"}
        first = server.requests[0]
        assert first.body["system"] == "Be brief."
        assert first.body["output_config"] == {"effort": "low"}
        assert first.body.get("model", model) == model
        said = {value for key, value in first.headers.items() if KEY in value}
        assert said, "the key was not sent"


async def test_bedrocks_older_route_gets_the_version_that_all_of_its_models_know(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", KEY)
    with MessagesServer() as server:
        await asked(cloud("bedrock", INVOKED, server.url, monkeypatch), "hi")
        assert server.requests[0].body["anthropic_version"] == "bedrock-2023-05-31"


@pytest.mark.parametrize(
    ("model", "older"),
    [
        (INVOKED, True),
        ("anthropic.claude-3-5-sonnet-20241022-v2:0", True),
        ("anthropic.claude-sonnet-4-6", True),
        ("anthropic.claude-opus-4-6-v1", True),
        ("global.anthropic.claude-haiku-5-5", True),
        ("arn:aws:bedrock:us-east-1:1:application-inference-profile/abc", True),
        ("anthropic.claude-opus-4-8", False),
        ("anthropic.claude-haiku-5-5", False),
        ("anthropic.claude-sonnet-5-5", False),
    ],
)
def test_bedrocks_route_follows_from_the_models_id(model: str, older: bool) -> None:
    assert bool(clouds.body_of(KNOWN["bedrock"], model)) is older
    assert clouds.body_of(KNOWN["vertex"], model) == {}


@pytest.mark.parametrize(
    ("fault", "kind"),
    [("429", RateLimitedError), ("529", OverloadedError), ("500", ServerError)],
)
@pytest.mark.parametrize(("name", "variable", "model"), BY_KEY)
async def test_a_fault_is_the_same_error_as_elsewhere_and_isnt_retried_by_the_sdk(
    name: str,
    variable: str,
    model: str,
    fault: str,
    kind: type[Exception],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(variable, KEY)
    with MessagesServer(plan=lambda body, attempt: fault) as server:
        with pytest.raises(kind):
            await asked(cloud(name, model, server.url, monkeypatch), "hi")
        assert server.arrived == 1


async def test_a_key_that_is_refused_names_its_own_variable_and_never_the_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, variable, model in BY_KEY:
        monkeypatch.setenv(variable, KEY)
        with MessagesServer(key="another") as server:
            with pytest.raises(FatalProviderError) as caught:
                await asked(cloud(name, model, server.url, monkeypatch), "hi")
            assert f"Set {variable} to a valid key" in str(caught.value)
            assert KNOWN[name].title in str(caught.value)
            assert KEY not in str(caught.value)


async def test_a_model_that_bedrock_hasnt_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", KEY)
    unknown = pytest.raises(FatalProviderError, match="Amazon Bedrock does not know model")
    with MessagesServer(models=["another"]) as server, unknown:
        await asked(cloud("bedrock", INVOKED, server.url, monkeypatch), "hi")
    with (
        MessagesServer(plan=lambda body, attempt: "400") as server,
        pytest.raises(RejectedRequestError),
    ):
        await asked(cloud("bedrock", INVOKED, server.url, monkeypatch), "hi")


@pytest.mark.parametrize(
    ("name", "given", "says"),
    [
        ("foundry", {}, "set ANTHROPIC_FOUNDRY_API_KEY and ANTHROPIC_FOUNDRY_RESOURCE"),
        ("foundry", {"ANTHROPIC_FOUNDRY_API_KEY": "k"}, "set ANTHROPIC_FOUNDRY_RESOURCE"),
        ("aws", {"ANTHROPIC_AWS_API_KEY": "k"}, "set ANTHROPIC_AWS_WORKSPACE_ID and AWS_REGION"),
        ("bedrock", {"AWS_BEARER_TOKEN_BEDROCK": "k"}, "set AWS_REGION"),
    ],
)
async def test_what_is_lacking_is_named_before_anything_is_sent(
    name: str, given: dict[str, str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("AWS_REGION", "AWS_DEFAULT_REGION", "ANTHROPIC_FOUNDRY_RESOURCE"):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in given.items():
        monkeypatch.setenv(variable, value)
    provider = AnthropicProvider("claude-haiku-5-5", row=KNOWN[name])
    with pytest.raises(ConfigurationError, match=f"^{name}:claude-haiku-5-5 .*{says}$"):
        await provider.open(Settings(model=provider.model), 1)


@pytest.mark.parametrize("name", ["bedrock", "vertex", "aws", "gcloud"])
def test_a_library_that_isnt_there_is_named_by_the_extra(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clouds, "find_spec", lambda module: None)
    row = KNOWN[name]
    assert clouds.lacking(row) == f'it needs an extra: pip install "ondine-nb[{row.extra}]"'


def test_a_cloud_says_what_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    batches = {
        name: capabilities(AnthropicProvider("claude-haiku-5-5", row=row)).batches is not None
        for name, row in KNOWN.items()
        if row.client
    }
    assert batches == {name: KNOWN[name].batches for name in batches}
    assert {name for name, can in batches.items() if can} == {"aws", "gcloud"}


def test_every_cloud_is_another_provider_in_the_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    def identities() -> set[str]:
        rows = [KNOWN["anthropic"], *(row for row in KNOWN.values() if row.client)]
        return {AnthropicProvider("claude-haiku-5-5", row=row).identity for row in rows}

    assert identities() == {"anthropic", "bedrock", "vertex", "foundry", "aws", "gcloud"}
    monkeypatch.setenv("ANTHROPIC_BEDROCK_BASE_URL", "HTTP://Gateway:80/bedrock/")
    assert "bedrock http://gateway/bedrock" in identities()


def test_vertex_has_a_price_at_its_global_endpoint_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def price() -> Any:
        return AnthropicProvider("claude-haiku-5-5", row=KNOWN["vertex"]).price

    monkeypatch.setenv("CLOUD_ML_REGION", "us-east5")
    assert price() is None
    monkeypatch.setenv("CLOUD_ML_REGION", "global")
    assert price() is not None


# -- with the libraries that sign


@pytest.mark.parametrize(("name", "service"), [("bedrock", "bedrock"), ("aws", "external")])
async def test_without_a_key_a_request_is_signed_and_the_secret_stays_here(
    name: str, service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("boto3")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEY)
    model = INVOKED if name == "bedrock" else "claude-haiku-5-5"
    with MessagesServer() as server:
        provider = cloud(name, model, server.url, monkeypatch)
        assert await asked(provider, "one", "two") == [echo_of("one"), echo_of("two")]
        signatures = [request.headers["authorization"] for request in server.requests]
        assert all("AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/" in each for each in signatures)
        assert all(service in each for each in signatures)
        assert len(set(signatures)) == 2  # each body has its own
        assert not any(KEY in str(request.headers) for request in server.requests)


async def test_without_any_credentials_a_run_ends_with_a_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("boto3")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    with MessagesServer() as server:
        provider = cloud("bedrock", INVOKED, server.url, monkeypatch)
        monkeypatch.setenv("AWS_REGION", "eu-north-1")  # the SDK keeps what it found for another
        told = r"to Amazon Bedrock: .* Check its credentials"
        with pytest.raises(FatalProviderError, match=told):
            await asked(provider, "hi")
        assert server.arrived == 0


@pytest.fixture
def google(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A service account whose tokens a loopback server gives."""
    pytest.importorskip("google.auth")
    serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")
    rsa = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.rsa")
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )

    class Tokens(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.dumps({"access_token": KEY, "expires_in": 3600}).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None: ...

    tokens = HTTPServer(("127.0.0.1", 0), Tokens)
    threading.Thread(target=tokens.serve_forever, daemon=True).start()
    account = {
        "type": "service_account",
        "project_id": "p1",
        "private_key_id": "1",
        "private_key": private.decode(),
        "client_email": "a@p1.iam.gserviceaccount.com",
        "token_uri": f"http://127.0.0.1:{tokens.server_port}/token",
    }
    file = tmp_path / "account.json"
    file.write_text(json.dumps(account))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    monkeypatch.setenv("CLOUD_ML_REGION", "global")
    monkeypatch.setenv("ANTHROPIC_VERTEX_PROJECT_ID", "p1")
    monkeypatch.setenv("ANTHROPIC_GOOGLE_CLOUD_WORKSPACE_ID", "wrkspc_1")
    yield
    tokens.shutdown()
    tokens.server_close()


@pytest.mark.parametrize("name", ["vertex", "gcloud"])
async def test_google_gives_a_token_that_no_error_shows(
    name: str, google: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with MessagesServer(key=KEY) as server:
        provider = cloud(name, "claude-haiku-5-5", server.url, monkeypatch)
        assert await asked(provider, "one", "two") == [echo_of("one"), echo_of("two")]
        if name == "vertex":
            path = next(iter(server.calls))
            assert path.endswith(
                "/p1/locations/global/publishers/anthropic/models/claude-haiku-5-5:rawPredict"
            )
    with MessagesServer(key="another") as server:
        provider = cloud(name, "claude-haiku-5-5", server.url, monkeypatch)
        with pytest.raises(FatalProviderError) as caught:
            await asked(provider, "one")
        assert KEY not in str(caught.value)
