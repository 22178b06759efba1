"""Which provider answers: a base URL, Claude by key, or the embedded model where it is asked."""

from __future__ import annotations

import os
from decimal import Decimal
from pathlib import Path
from typing import Any

from ..errors import RowError
from .anthropic import AnthropicProvider, has_credentials
from .base import Provider, Reply, Settings
from .known import LOCAL

__all__ = ["choose", "embedded"]


def choose(
    model: str,
    *,
    base_url: str | None = None,
    price_in: Decimal | None = None,
    price_out: Decimal | None = None,
) -> Provider:
    """The provider for `model`; sends nothing.

    `base_url` (or `ANTHROPIC_BASE_URL`) is the server there. Else `local` is the embedded model,
    every other name the Anthropic API's: without a key that the SDK finds, that is `unable` to
    answer anything but what the journal has.
    """
    if model == LOCAL and not base_url:
        return embedded(asked=True)
    server = base_url or os.environ.get("ANTHROPIC_BASE_URL")
    kind = AnthropicProvider if server or _has_key() else _Keyless
    return kind(model, base_url=base_url, price_in=price_in, price_out=price_out)


def embedded(*, asked: bool) -> Provider:
    """The embedded model; not `asked` for, it says that it stands in for want of a key."""
    from .local import LocalProvider

    return LocalProvider(asked=asked)


class _Keyless(AnthropicProvider):
    """The Anthropic API without a key: who asks for it gets what the journal has."""

    @property
    def unable(self) -> str:
        return (
            f"there is no key for '{self.model}': set ANTHROPIC_API_KEY, or ask the embedded model "
            "with -m local"
        )

    async def open(self, settings: Settings, concurrency: int) -> None:
        """Nothing is sent, so nothing is connected."""

    async def count_tokens(self, prompt: Any) -> int | None:
        return None

    async def send(self, prompt: Any) -> Reply:
        raise RowError(self.unable)


def _has_key() -> bool:
    """Ask the SDK only where there is a sign of a key: its import takes over a second."""
    if os.environ.get("ANTHROPIC_API_KEY") or os.environ.get("ANTHROPIC_AUTH_TOKEN"):
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
