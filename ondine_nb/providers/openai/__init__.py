"""OpenAI's Chat Completions, for every server that has them: by the SDK and a fast path."""

from __future__ import annotations

from .client import OpenAIProvider

__all__ = ["OpenAIProvider"]
