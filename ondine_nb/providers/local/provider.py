"""The embedded model as a provider: the Messages API of a child process on this machine, for $0."""

from __future__ import annotations

import builtins
import logging

from ..anthropic import AnthropicProvider
from ..base import Settings
from .process import MODEL_ID, MODEL_SHA256, loading, notice, shared

__all__ = ["LocalProvider"]

logger = logging.getLogger("ondine_nb")


class LocalProvider(AnthropicProvider):
    """The embedded model, started at its first request: `asked` for, or standing in."""

    title = "the embedded model"
    # It has 4 slots of 1,024 tokens for prompt and answer together.
    max_concurrency = 4
    default_max_tokens = 256
    context_tokens = 1024
    batches = models = write = None  # type: ignore[assignment]
    parts = frozenset({"text"})
    keeps_rows_apart = travels = False

    def __init__(self, *, asked: bool = True) -> None:
        super().__init__(
            MODEL_ID,
            identity=f"local:{MODEL_SHA256[:16]}",
            free=True,
            note=notice(asked=asked),
            start=_start,
        )
        self._asked = asked

    async def open(self, settings: Settings, concurrency: int) -> None:
        """Start it, where that hasn't happened; a script is warned of a model it didn't name."""
        if not self._asked and not hasattr(builtins, "__IPYTHON__"):
            logger.warning(self.note)
        await super().open(settings, concurrency)

    @property
    def starting(self) -> str:
        """What has to be done before it answers, while that is done; else ""."""
        return "loading the model" if loading() else ""


def _start() -> tuple[str, str]:
    model = shared()
    return model.url, model.key
