"""Which provider answers for a model's name: a known one by its key, a package's, the embedded."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import fields
from decimal import Decimal
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..errors import ConfigurationError, RowError
from .anthropic import AnthropicProvider, has_credentials, lacking
from .base import Capabilities, Provider, Reply, Settings, capabilities
from .known import ENTRY_POINTS, LOCAL, KnownProvider, split_model
from .openai import OpenAIProvider
from .pricing import FREE, ModelPrice

__all__ = ["Unable", "check_provider", "choose", "embedded", "ready"]

_ANY = "-"  # a model's name where none is meant


def choose(
    model: str,
    *,
    base_url: str | None = None,
    price_in: Decimal | None = None,
    price_out: Decimal | None = None,
) -> Provider:
    """The provider for `model`, as `split_model` reads it; sends nothing.

    One that lacks its key, its extra or a setting is `unable` to answer anything but what the
    journal has. Raises `ConfigurationError` for a name or a package's provider that can't be.
    """
    row, name = split_model(model, base_url)
    if row.name == LOCAL:
        return embedded(asked=True)
    if row.wire == "package":
        return _packaged(row.name, name, priced=(price_in, price_out) != (None, None))
    provider, why = _known(row, name, base_url, price_in, price_out)
    return Unable(provider, f"{why}, or ask the embedded model with -m local") if why else provider


def ready(row: KnownProvider) -> Provider | None:
    """A provider of this row, to ask it what it has; None where this machine can't ask it."""
    if row.name == LOCAL or split_model(f"{row.name}:{_ANY}")[0] is not row:
        return None
    try:
        provider = choose(f"{row.name}:{_ANY}")
    except ConfigurationError:
        return None
    return None if capabilities(provider).unable else provider


def embedded(*, asked: bool) -> Provider:
    """The embedded model; not `asked` for, it says that it stands in for want of a key."""
    from .local import LocalProvider

    return LocalProvider(asked=asked)


def _known(
    row: KnownProvider,
    model: str,
    base_url: str | None,
    price_in: Decimal | None,
    price_out: Decimal | None,
) -> tuple[Provider, str]:
    """A row's provider, and why it can't be asked here, with the remedy; "" where it can."""
    if row.wire == "chat":
        chat = OpenAIProvider(
            model, row=row, base_url=base_url, price_in=price_in, price_out=price_out
        )
        if chat.price is None and _is_free(row, chat.base_url, model):
            chat.price = FREE
        return chat, chat.unable
    made = AnthropicProvider(
        model, row=row, base_url=base_url, price_in=price_in, price_out=price_out
    )
    if row.client:
        lacks = lacking(row)
        return made, f"{row.name}:{model} can't be asked: {lacks}" if lacks else ""
    server = base_url or os.environ.get("ANTHROPIC_BASE_URL")
    keyless = not server and not _has_key()
    return made, f"there is no key for '{model}': set {row.keys[0]}" if keyless else ""


def _is_free(row: KnownProvider, base_url: str, model: str) -> bool:
    """Whether a server on this machine answers by itself: Ollama hands `…-cloud` models on."""
    here = urlsplit(base_url).hostname in ("localhost", "127.0.0.1", "::1")
    return row.local and here and not model.endswith("cloud")


class Unable:
    """A provider that can't be asked here: who asks for it gets what the journal has."""

    unable: str
    models: None

    def __init__(self, own: Provider, why: str) -> None:
        can = capabilities(own)
        for each in fields(Capabilities):
            setattr(self, each.name, getattr(can, each.name))
        self.own: Provider = own
        self.identity: str = own.identity
        self.model: str = own.model
        self.note: str = own.note
        self.price: ModelPrice | None = own.price
        self.unable, self.models = why, None
        self.clone: Callable[[], Provider] | None = None if can.clone is None else self._clone

    async def open(self, settings: Settings, concurrency: int) -> None:
        """Nothing is sent, so nothing is connected."""

    async def count_tokens(self, prompt: Any) -> int | None:
        """None: nobody is there who counts."""
        return None

    async def send(self, prompt: Any) -> Reply:
        """Raises the reason why it can't be asked, a `RowError`."""
        raise RowError(self.unable)

    def request_bytes(self, prompt: Any) -> int:
        """As the provider that would be asked has it."""
        return self.own.request_bytes(prompt)

    async def close(self) -> None:
        """Nothing is open."""

    def _clone(self) -> Provider:
        clone = capabilities(self.own).clone
        assert clone is not None
        return Unable(clone(), self.unable)


def _packaged(prefix: str, model: str, *, priced: bool) -> Provider:
    """The provider that an installed package offers by this prefix."""
    if priced:
        raise ConfigurationError(
            f"'{prefix}' is a package's provider and knows its own price: leave --price-in and "
            "--price-out out"
        )
    point = next(point for point in entry_points(group=ENTRY_POINTS) if point.name == prefix)
    try:
        made = point.load()(model)
    except Exception as error:  # whatever a package raises, in one line
        told = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise ConfigurationError(
            f"-m {prefix}:{model}: the provider of {_package(point)} can't be had ({told}). Mend, "
            "update or uninstall that package, or name another model"
        ) from error
    return check_provider(made, f"-m {prefix}:{model} ({_package(point)})")


def _package(point: EntryPoint) -> str:
    return f"package {point.dist.name}" if point.dist is not None else f"'{point.value}'"


_ASKED = ("identity", "model", "open", "send", "count_tokens", "request_bytes", "close")


def check_provider(given: Any, what: str) -> Provider:
    """`given`, which `what` names. Raises `ConfigurationError` where it can't be a provider."""
    if isinstance(given, type):
        name = given.__name__
        raise ConfigurationError(f"{what} is the class {name}: give an object of it, {name}(…)")
    missing = [name for name in _ASKED if not hasattr(given, name)]
    if missing:
        raise ConfigurationError(
            f"{what} is {type(given).__name__}, which has no {missing[0]}: a provider has what "
            "`ondine_nb.providers.Provider` names"
        )
    return given  # type: ignore[no-any-return]


def _has_key() -> bool:
    """Ask the SDK only where there is a sign of a key: its import takes over a second."""
    keys = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN")
    if any(os.environ.get(name, "").strip() for name in keys):  # a blank one is none
        return True
    signs = ("ANTHROPIC_PROFILE", "ANTHROPIC_IDENTITY_TOKEN", "ANTHROPIC_IDENTITY_TOKEN_FILE")
    return (any(os.environ.get(name) for name in signs) or _profiles().is_dir()) and (
        has_credentials()
    )


def _profiles() -> Path:
    """Where the SDK keeps profiles (its `ANTHROPIC_CONFIG_DIR`, else the platform's place)."""
    given = os.environ.get("ANTHROPIC_CONFIG_DIR")
    if given:
        return Path(given)
    if os.name == "nt":
        return Path(os.environ.get("APPDATA") or Path.home() / "AppData" / "Roaming") / "Anthropic"
    return Path.home() / ".config" / "anthropic"
