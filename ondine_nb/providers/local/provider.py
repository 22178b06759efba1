"""The embedded model as a provider: the Messages API of a child process on this machine, for $0."""

from __future__ import annotations

from ..anthropic import AnthropicProvider
from .process import MODEL_ID, MODEL_SHA256, notice, shared

__all__ = ["LocalProvider"]


class LocalProvider(AnthropicProvider):
    """The embedded model, which starts at its first request."""

    title = "the embedded model"
    # It has 4 slots of 1,024 tokens for prompt and answer together.
    max_concurrency = 4
    default_max_tokens = 256
    batches = models = None  # type: ignore[assignment]
    keeps_rows_apart = travels = False

    def __init__(self) -> None:
        super().__init__(
            MODEL_ID,
            identity=f"local:{MODEL_SHA256[:16]}",
            free=True,
            note=notice(),
            start=_start,
        )


def _start() -> tuple[str, str]:
    model = shared()
    return model.url, model.key
