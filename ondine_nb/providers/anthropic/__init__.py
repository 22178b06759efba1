"""The Anthropic Messages API, by the SDK and a fast path around it."""

from __future__ import annotations

from .batches import MessageBatches
from .client import AnthropicProvider, has_credentials, sdk
from .clouds import lacking

__all__ = [
    "AnthropicProvider",
    "MessageBatches",
    "has_credentials",
    "lacking",
    "sdk",
]
