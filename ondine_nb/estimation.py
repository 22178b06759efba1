"""What a run would send and cost, before anything is paid."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from statistics import linear_regression
from typing import Any

from .askers import price_of
from .batching import BatchInvokeStage
from .contracts import ExecutionContext
from .invocation import InvokeStage
from .models import CostEstimate, Usage
from .rows import Row
from .stages import ParseStage, PromptStage

__all__ = ["Estimator", "Tally"]

_COUNTED = 8
_BYTES_A_TOKEN = 4
_TEXT_TOKENS = 150
_FIELD_TOKENS = 12
_FEWEST_TOKENS = 4
_FIRST_PROMPTS = 3


@dataclass
class Tally:
    """What rendering all prompts shows: rows by what would happen to them, and what goes out."""

    rows: int = 0
    skipped: int = 0
    from_journal: int = 0
    duplicates: int = 0
    requests: int = 0
    prompt_bytes: int = 0
    ceiling: Decimal = Decimal(0)
    first_prompts: list[str] = field(default_factory=list)
    sample: list[str] = field(default_factory=list)


class Estimator:
    """Walks a job's first stages without sending a request that costs anything."""

    def __init__(self, job: Any) -> None:
        self.job = job
        self.prompt_stage = next(s for s in job.stages if isinstance(s, PromptStage))
        self.invoke = next(s for s in job.stages if isinstance(s, InvokeStage))
        self.parse = next(s for s in job.stages if isinstance(s, ParseStage))
        self.tally = Tally()
        self._random = random.Random(0)  # noqa: S311

    async def estimate(self) -> CostEstimate:
        """The estimate; `tally` has its counts. Raises `JournalError` or `ConfigurationError`."""
        await self.invoke.open(self.job.context)
        try:
            await self.invoke.open_provider()
            await self._walk()
            tokens_in, counted = await self._input_tokens()
        finally:
            await self.invoke.close()
        return self._priced(tokens_in, counted)

    async def _walk(self) -> None:
        seen: set[bytes] = set()
        context: ExecutionContext = self.job.context
        for chunk in self.job.rowset.chunks(self.prompt_stage.columns):
            await self.prompt_stage.prepare(chunk, context)
            await self.invoke.prepare(chunk, context)
            self._count(chunk, seen)
            for row in chunk:
                row.release()

    def _count(self, chunk: Sequence[Row], seen: set[bytes]) -> None:
        tally = self.tally
        for row in chunk:
            tally.rows += 1
            if row.prompt is None:
                tally.skipped += 1
                continue
            if len(tally.first_prompts) < _FIRST_PROMPTS:
                tally.first_prompts.append(row.prompt)
            if row.inquiry.answers:
                tally.from_journal += 1
            elif row.inquiry.key in seen:
                tally.duplicates += 1
            else:
                seen.add(row.inquiry.key)
                self._count_request(row.prompt)

    def _count_request(self, prompt: str) -> None:
        tally = self.tally
        tally.requests += 1
        bound = self.invoke.provider.request_bytes(prompt)
        tally.prompt_bytes += bound
        if (price := price_of(self.invoke)) is not None:
            worst = price.ceiling(bound, self.invoke.settings.max_tokens)
            tally.ceiling += worst
        if len(tally.sample) < _COUNTED:
            tally.sample.append(prompt)
        elif (place := self._random.randrange(tally.requests)) < _COUNTED:
            tally.sample[place] = prompt  # every prompt has the same chance: rows may be sorted

    async def _input_tokens(self) -> tuple[int, bool]:
        """Tokens in of all requests together, and whether they rest on counts of the API."""
        sample, provider = self.tally.sample, self.invoke.provider
        counts = await asyncio.gather(*(provider.count_tokens(prompt) for prompt in sample))
        known = [
            (count, provider.request_bytes(prompt))
            for count, prompt in zip(counts, sample, strict=True)
            if count is not None
        ]
        if not known:
            return self.tally.prompt_bytes // _BYTES_A_TOKEN, False
        return self._by_size([size for _, size in known], [count for count, _ in known]), True

    def _by_size(self, sizes: list[int], counts: list[int]) -> int:
        """The tokens of all requests by the line through those that were counted.

        A line, not a ratio: what is the same in every request weighs more in short ones.
        """
        tally = self.tally
        slope = linear_regression(sizes, counts).slope if len(set(sizes)) > 1 else 0.0
        if slope <= 0:
            return round(tally.prompt_bytes * sum(counts) / sum(sizes))
        base = (sum(counts) - slope * sum(sizes)) / len(sizes)
        return max(tally.requests, round(base * tally.requests + slope * tally.prompt_bytes))

    def _priced(self, tokens_in: int, counted: bool) -> CostEstimate:
        tally, price = self.tally, price_of(self.invoke)
        likely_out = tally.requests * self._likely_output()
        estimate = CostEstimate(
            total_cost=None,
            total_tokens=tokens_in + likely_out,
            input_tokens=tokens_in,
            output_tokens=likely_out,
            rows=tally.rows,
            confidence="estimate" if counted else "rough",
            requests=tally.requests,
            notes=self._notes(counted),
        )
        if price is not None and tally.requests:
            mean = tokens_in // tally.requests
            each = price.cost(Usage(mean, self._likely_output()))
            least = price.cost(Usage(mean * 9 // 10, _FEWEST_TOKENS))
            estimate.total_cost = each * tally.requests
            estimate.low, estimate.high = least * tally.requests, tally.ceiling
        elif price is not None:
            estimate.total_cost = estimate.low = estimate.high = Decimal(0)
        return estimate

    def _likely_output(self) -> int:
        """Tokens out that an answer usually has; the ceiling doesn't rest on it."""
        schema = self.parse.schema
        likely = _TEXT_TOKENS if schema is None else 8 + _FIELD_TOKENS * len(schema.fields)
        return min(self.invoke.settings.max_tokens, likely)

    def _notes(self, counted: bool) -> tuple[str, ...]:
        tally, settings = self.tally, self.invoke.settings
        how = (
            f"counted by the API on {len(tally.sample)} prompts"
            if counted
            else ("rough: a token for every 4 bytes")
        )
        notes: tuple[str, ...] = (
            f"input tokens {how}",
            f"the ceiling is {settings.max_tokens:,} tokens out for every request (max_tokens)",
        )
        if isinstance(self.invoke, BatchInvokeStage):
            notes = (*notes, "at the price of Message Batches; answers come within 24 hours")
        if self.parse.schema is None:
            return notes
        again = (
            f"an answer that breaks the schema is asked again, {self.parse.reasks} times at most"
        )
        return (*notes, f"{again}: the ceiling leaves that out")
