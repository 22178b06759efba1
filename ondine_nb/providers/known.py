"""The providers that a model's prefix can name, as rows of one table, and the split of the name.

`openai:gpt-5.4` is the model `gpt-5.4` of the row `openai`. A row is what is known of a provider
without asking it; a new provider that speaks one of the two wires is a new row and no class.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Literal

from ..errors import ConfigurationError, nearest

__all__ = ["ENTRY_POINTS", "KNOWN", "LOCAL", "KnownProvider", "packaged", "split_model"]

LOCAL = "local"  # what the embedded model is asked for by
ENTRY_POINTS = "ondine_nb.providers"  # where packages offer providers of theirs


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownProvider:
    """What is known of a provider before it is asked.

    `wire` is the API that it is asked by: `messages` (Anthropic's Messages API), `chat` (OpenAI's
    Chat Completions) or `package` (an object of an installed package). `base_url` is where that
    begins, "" where the SDK or a variable of the environment says; `url_variable` is that variable.
    `keys` are the variables that may hold the key, `needs` others without which there is no client.
    `max_tokens` is how the limit of an answer is called on the wire. `structured` tells whether a
    schema is enforced (None: it depends on the model or server, so it is found out), `cache` how a
    prompt's beginning is cached: `marked` by us, `automatic`, or "" where nothing is known of it.
    `documents` says that PDFs go beside pictures where a model sees. `batches` says whether
    `--batch` can be used: with others it hasn't been tried. `prices` is the
    provider's id in `genai-prices`, "" where that has none. `extra` is the extra of this package
    that it needs, `client` the class of the Anthropic SDK that reaches it where that isn't the
    usual one. `local` servers answer on this machine, mostly without a key.
    """

    name: str
    title: str
    wire: Literal["messages", "chat", "package"]
    base_url: str = ""
    url_variable: str = ""
    keys: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    max_tokens: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    structured: bool | None = None
    cache: Literal["marked", "automatic", ""] = ""
    documents: bool = False
    batches: bool = False
    prices: str = ""
    extra: str = ""
    client: str = ""
    local: bool = False

    @property
    def names_wire(self) -> bool:
        """Whether the prefix says how any server is asked, so holds with a base URL, too."""
        return self.name in ("anthropic", "openai") or (self.local and self.wire == "chat")

    @property
    def at(self) -> str:
        """Where its API begins, by the environment or the table; "" where its SDK knows."""
        return os.environ.get(self.url_variable) or self.base_url

    @property
    def key(self) -> str | None:
        """The key that the environment has for it, or None; a blank one is none."""
        held = (os.environ.get(name) or "" for name in self.keys)
        return next((key for key in held if key.strip()), None)


def _chat(name: str, title: str, base_url: str, key: str, **known: object) -> KnownProvider:
    return KnownProvider(
        name=name,
        title=title,
        wire="chat",
        base_url=base_url,
        keys=(key,),
        extra="openai",
        **known,  # type: ignore[arg-type]
    )


def _server(
    name: str, title: str, port: int, *keys: str, structured: bool | None = True
) -> KnownProvider:
    return KnownProvider(
        name=name,
        title=title,
        wire="chat",
        base_url=f"http://127.0.0.1:{port}/v1",
        keys=keys,
        structured=structured,
        cache="automatic",
        extra="openai",
        local=True,
    )


def _cloud(name: str, title: str, client: str, **known: object) -> KnownProvider:
    return KnownProvider(
        name=name,
        title=title,
        wire="messages",
        client=client,
        cache="marked",
        documents=True,
        **known,  # type: ignore[arg-type]
    )


_NEW = "max_completion_tokens"

_ROWS = (
    KnownProvider(
        name="anthropic",
        title="Anthropic",
        wire="messages",
        url_variable="ANTHROPIC_BASE_URL",
        keys=("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"),
        structured=True,
        cache="marked",
        documents=True,
        batches=True,
        prices="anthropic",
    ),
    _chat(
        "openai",
        "OpenAI",
        "https://api.openai.com/v1",
        "OPENAI_API_KEY",
        url_variable="OPENAI_BASE_URL",
        max_tokens=_NEW,
        structured=True,
        cache="automatic",
        documents=True,
        batches=True,
        prices="openai",
    ),
    _chat(
        "azure",
        "Azure OpenAI",
        "",
        "AZURE_OPENAI_API_KEY",
        url_variable="AZURE_OPENAI_ENDPOINT",
        max_tokens=_NEW,
        structured=True,
        cache="automatic",
        documents=True,
        prices="azure",
    ),
    KnownProvider(
        name="gemini",
        title="Gemini",
        wire="chat",
        base_url="https://generativelanguage.googleapis.com/v1beta/openai",
        keys=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        cache="automatic",
        prices="google",
        extra="openai",
    ),
    _chat(
        "openrouter",
        "OpenRouter",
        "https://openrouter.ai/api/v1",
        "OPENROUTER_API_KEY",
        documents=True,
        prices="openrouter",
    ),
    _chat(
        "groq",
        "Groq",
        "https://api.groq.com/openai/v1",
        "GROQ_API_KEY",
        max_tokens=_NEW,
        prices="groq",
    ),
    _chat("mistral", "Mistral", "https://api.mistral.ai/v1", "MISTRAL_API_KEY", prices="mistral"),
    _chat(
        "deepseek",
        "DeepSeek",
        "https://api.deepseek.com",
        "DEEPSEEK_API_KEY",
        cache="automatic",
        prices="deepseek",
    ),
    _chat(
        "xai",
        "xAI",
        "https://api.x.ai/v1",
        "XAI_API_KEY",
        max_tokens=_NEW,
        cache="automatic",
        prices="x-ai",
    ),
    _chat(
        "together", "Together", "https://api.together.xyz/v1", "TOGETHER_API_KEY", prices="together"
    ),
    _chat(
        "fireworks",
        "Fireworks",
        "https://api.fireworks.ai/inference/v1",
        "FIREWORKS_API_KEY",
        cache="automatic",
        prices="fireworks",
    ),
    _server("ollama", "Ollama", 11434, "OLLAMA_API_KEY"),
    _server("vllm", "vLLM", 8000, "VLLM_API_KEY"),
    _server("lmstudio", "LM Studio", 1234, "LM_API_TOKEN", structured=None),
    _server("llamacpp", "llama.cpp", 8080, "LLAMA_API_KEY"),
    _cloud(
        "bedrock",
        "Amazon Bedrock",
        "AsyncAnthropicBedrock",
        url_variable="ANTHROPIC_BEDROCK_BASE_URL",
        keys=("AWS_BEARER_TOKEN_BEDROCK",),
        prices="aws",
        extra="bedrock",
    ),
    _cloud(
        "vertex",
        "Google Vertex AI",
        "AsyncAnthropicVertex",
        url_variable="ANTHROPIC_VERTEX_BASE_URL",
        needs=("CLOUD_ML_REGION", "ANTHROPIC_VERTEX_PROJECT_ID"),
        prices="google",
        extra="vertex",
    ),
    _cloud(
        "foundry",
        "Microsoft Foundry",
        "AsyncAnthropicFoundry",
        url_variable="ANTHROPIC_FOUNDRY_BASE_URL",
        keys=("ANTHROPIC_FOUNDRY_API_KEY",),
        prices="azure",
    ),
    _cloud(
        "aws",
        "Claude Platform on AWS",
        "AsyncAnthropicAWS",
        url_variable="ANTHROPIC_AWS_BASE_URL",
        keys=("ANTHROPIC_AWS_API_KEY",),
        needs=("ANTHROPIC_AWS_WORKSPACE_ID",),
        structured=True,
        batches=True,
        prices="anthropic",
        extra="bedrock",
    ),
    _cloud(
        "gcloud",
        "Claude on Google Cloud",
        "AsyncAnthropicGoogleCloud",
        url_variable="ANTHROPIC_GOOGLE_CLOUD_BASE_URL",
        structured=True,
        batches=True,
        prices="anthropic",
        extra="vertex",
    ),
    KnownProvider(
        name=LOCAL,
        title="the embedded model",
        wire="messages",
        structured=True,
        extra="local",
        local=True,
    ),
)

KNOWN: dict[str, KnownProvider] = {row.name: row for row in _ROWS}


def split_model(name: str, base_url: str | None = None) -> tuple[KnownProvider, str]:
    """The provider that a model's name asks for, and the name that it knows the model by.

    The name is split at its first colon. Without a colon it is Anthropic's, and `local` alone the
    embedded model. Where `base_url` (or `ANTHROPIC_BASE_URL`) names a server, only prefixes that
    say how it is asked are split off: `openai:`, `anthropic:`, those of local servers; every other
    name is the model's whole name there. Raises `ConfigurationError` for a prefix that names no
    provider and for one without a model behind it.
    """
    anthropic = KNOWN["anthropic"]
    prefix, colon, model = name.partition(":")
    if name == LOCAL and not base_url:
        return KNOWN[LOCAL], name
    if not colon:
        return anthropic, name
    row = KNOWN.get(prefix)
    if (base_url or os.environ.get("ANTHROPIC_BASE_URL")) and not (row and row.names_wire):
        return anthropic, name
    if row is None and prefix in (others := packaged()):
        row = KnownProvider(name=prefix, title=prefix, wire="package")
    if row is None:
        raise _no_provider(prefix, model, others)
    if row.name == LOCAL:
        raise ConfigurationError(f"-m {name}: the embedded model is one, so write -m local")
    if not model.strip():
        raise ConfigurationError(
            f"-m {name} names no model: write {prefix}:MODEL (`%ondine models` lists them)"
        )
    return row, model


def packaged() -> tuple[str, ...]:
    """The prefixes that installed packages offer providers by, in order."""
    return tuple(sorted({point.name for point in entry_points(group=ENTRY_POINTS)}))


def _no_provider(prefix: str, model: str, others: Collection[str]) -> ConfigurationError:
    if model.startswith("//"):
        return ConfigurationError(
            f"-m {prefix}:{model} is a server's address: give that with --base-url, and the model "
            "with -m"
        )
    names = [*KNOWN, *others]
    near = nearest(prefix, [name for name in names if name != LOCAL])
    hint = f" Did you mean {near}:{model}?" if near else ""
    listed = ", ".join(name for name in names if name != LOCAL)
    return ConfigurationError(
        f"-m {prefix}:{model}: there is no provider '{prefix}' ({listed}).{hint}"
    )
