"""Which provider answers: a base URL, Claude by key, or else the embedded model."""

from __future__ import annotations

import os
from decimal import Decimal
from pathlib import Path

from .anthropic import AnthropicProvider, has_credentials
from .base import Provider

__all__ = ["choose"]


def choose(
    model: str,
    *,
    base_url: str | None = None,
    price_in: Decimal | None = None,
    price_out: Decimal | None = None,
) -> Provider:
    """The provider for `model`.

    With `base_url` (or `ANTHROPIC_BASE_URL`) the server there, with a key that the SDK finds the
    Anthropic API, otherwise the embedded model, whatever `model` says. Sends nothing.
    """
    if base_url or os.environ.get("ANTHROPIC_BASE_URL") or _has_key():
        return AnthropicProvider(model, base_url=base_url, price_in=price_in, price_out=price_out)
    return _embedded()


def _embedded() -> Provider:
    from .local import LocalProvider

    return LocalProvider()


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
