"""What the end-to-end tests share: pipelines over the loopback server, and their answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd

from ondine_nb import Pipeline, Run
from ondine_nb.journal.journal import shared
from ondine_nb.pipeline.assembly import asker_of
from ondine_nb.pipeline.options import Options
from ondine_nb.providers import Settings
from ondine_nb.sending import Budget
from tests.patience import PATIENCE
from tests.server import MessagesServer, echo_of

__all__ = [
    "CHAT",
    "HAIKU",
    "MESSAGES",
    "Api",
    "Asker",
    "asking",
    "echoes",
    "ended",
    "journaled",
    "seen",
    "statuses",
    "texts",
]

HAIKU = (Decimal("0.10"), Decimal("0.50"))  # USD per million tokens in and out, below the tier


@dataclass(frozen=True)
class Api:
    """An API of the loopback server: what asks by it, and what a million tokens cost."""

    name: str
    path: str
    options: dict[str, Any]
    prices: tuple[Decimal, Decimal]
    cache_read: str  # the share of a token's price that a cached one costs

    def billed(self, server: MessagesServer) -> Decimal:
        """What the server's books say that was billed, in USD."""
        return server.ledger.cost(*self.prices, cache_read=self.cache_read)


MESSAGES = Api("messages", "", {}, HAIKU, "0.1")
CHAT = Api(
    "chat", "/v1", {"model": "openai:gpt-4.1-mini"}, (Decimal("0.40"), Decimal("1.60")), "0.25"
)


@dataclass
class Asker:
    """Makes pipelines over one server and one journal folder."""

    server: MessagesServer
    folder: Path
    api: Api = MESSAGES

    def pipeline(self, data: Any, prompt: str = "Tell: {text}", **options: Any) -> Pipeline:
        url = self.server.url + self.api.path
        given = {"base_url": url, "journal": self.folder, **self.api.options, **options}
        return Pipeline(data, prompt, **given)

    def run(self, data: Any, prompt: str = "Tell: {text}", **options: Any) -> Run:
        """A run that has ended, whichever way."""
        run = Run(self.pipeline(data, prompt, **options))
        asyncio.run(ended(run))
        return run

    def stopped(
        self, requests: int, data: Any, prompt: str = "Tell: {text}", **options: Any
    ) -> Run:
        """A run that was stopped once the server had billed so many requests, and has ended."""
        run = Run(self.pipeline(data, prompt, **options))

        async def main() -> None:
            over = asyncio.create_task(ended(run))
            await seen(lambda: self.server.ledger.requests >= requests)
            run.stop()
            await over

        asyncio.run(main())
        return run

    def end_process(self) -> None:
        """Close the journal, as the end of a process does: the next run merges its file."""
        shared(self.folder).close()


async def ended(run: Run) -> None:
    """Until nothing of the run is in flight; its error stays in `run.error`."""
    over = asyncio.Event()
    run.start()
    run.when_over(lambda _: over.set())
    await over.wait()


async def seen(condition: Callable[[], bool]) -> None:
    """Wait on the loop until `condition()` holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.002)


def asking(provider: Any, settings: Settings, *, budget: Budget | None = None, **given: Any) -> Any:
    """The stage that asks `provider` one by one, as a pipeline makes it."""
    return asker_of(Options(), provider, settings, budget=budget or Budget(None), **given)


def texts(n: int, start: int = 0) -> pd.DataFrame:
    return pd.DataFrame({"text": [f"text {at}" for at in range(start, start + n)]})


def echoes(data: pd.DataFrame, prompt: str = "Tell: {text}") -> list[str]:
    return [echo_of(prompt.replace("{text}", text)) for text in data["text"]]


def journaled(run: Run) -> int:
    return run.context.journal_rows


def statuses(run: Run) -> list[str]:
    return list(run.rows["status"])
