"""What a run would send and cost, before anything is paid."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from statistics import fmean, linear_regression
from typing import Any

from ..errors import MalformedAnswerError
from ..models import CostEstimate, Prompt, Usage
from ..orchestration import ExecutionContext, Row
from ..providers import ModelPrice
from ..sending import Endpoint, answer_in
from ..stages import Asked, Batches, InvokeStage, ParseStage, Plan, PromptStage
from .records import same_question

__all__ = ["Estimator", "Tally", "projected"]

_COUNTED = 8
_BYTES_A_TOKEN = 4
_TEXT_TOKENS = 150
_FIELD_TOKENS = 12
_FEWEST_TOKENS = 4
_FIRST_PROMPTS = 3
_ENOUGH = 5  # earlier answers that say more than a rule of thumb
_MOST_REMEMBERED = 400
_FRAME_TOKENS = 16  # what roles and turns add to a request's texts
_PACKED_TOKENS = 10  # what an answer's id and braces take in a pack


@dataclass
class Tally:
    """What rendering all prompts shows: rows by what would happen to them, and what goes out.

    `questions` are asked by `requests`, `packed` of them in packs; `unpacked_bytes` is what a
    request for each would hold.
    """

    rows: int = 0
    skipped: int = 0
    from_journal: int = 0
    duplicates: int = 0
    questions: int = 0
    packed: int = 0
    requests: int = 0
    prompt_bytes: int = 0
    text_bytes: int = 0
    unpacked_bytes: int = 0
    ceiling: Decimal = Decimal(0)
    first_prompts: list[str] = field(default_factory=list)
    sample: list[tuple[Endpoint, str | Prompt]] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)


class Estimator:
    """Walks a plan's first stages without sending a request that costs anything."""

    def __init__(self, plan: Any) -> None:
        self.plan = plan
        self.prompt_stage: PromptStage = next(s for s in plan.stages if isinstance(s, PromptStage))
        self.invoke: InvokeStage = plan.asker
        self.parse: ParseStage = next(s for s in plan.stages if isinstance(s, ParseStage))
        self.tally: Tally = Tally()
        self._random = random.Random(0)  # noqa: S311
        self.answers: Plan = self.invoke.plan

    async def estimate(self) -> CostEstimate:
        """The estimate; `tally` has its counts. Raises `JournalError` or `ConfigurationError`."""
        await self.invoke.open(self.plan.context)
        try:
            await self.invoke.open_provider()
            await self._walk()
            tokens_in, counted = await self._input_tokens()
        finally:
            await self.invoke.close()
        await self._remember()
        return self._priced(tokens_in, counted)

    async def quick(self) -> CostEstimate:
        """The same without asking the provider anything: input tokens are rough."""
        await self.invoke.lookup.journal.refresh()
        await self._walk()
        await self._remember()
        return self._priced(self._rough_tokens(), False)

    def _rough_tokens(self) -> int:
        tally = self.tally
        return _rough(tally.text_bytes, tally.requests)

    async def _remember(self) -> None:
        """Output tokens of earlier answers to this prompt, also where the rows are new."""
        tally, journal = self.tally, self.invoke.lookup.journal
        if len(tally.outputs) >= _ENOUGH or not tally.requests:
            return
        settings = self.plan.context.settings
        runs = await asyncio.to_thread(same_question, journal.folder, settings)
        read = self.answers.alone.can.read
        for entry in await journal.latest(runs, _MOST_REMEMBERED) if runs else []:
            with contextlib.suppress(MalformedAnswerError):
                tally.outputs.append(answer_in(entry, read).usage.output_tokens)

    async def _walk(self) -> None:
        seen: set[bytes] = set()
        context: ExecutionContext = self.plan.context
        for chunk in self.plan.rowset.chunks(self.prompt_stage.columns):
            await self.prompt_stage.prepare(chunk, context)
            await self.invoke.meet(chunk)
            self._count_requests(self._count(chunk, seen), more=True)
        self._count_requests([], more=False)

    def _count(self, chunk: Sequence[Row], seen: set[bytes]) -> list[Asked]:
        """Count the rows by what would happen to them; gives those that would be asked."""
        tally, asked = self.tally, list[Asked]()
        for row in chunk:
            tally.rows += 1
            if row.prompt is None:
                tally.skipped += 1
                row.release()
                continue
            if len(tally.first_prompts) < _FIRST_PROMPTS:
                tally.first_prompts.append(row.prompt.text)
            if row.question.answers:
                tally.from_journal += 1
                if len(tally.outputs) < _MOST_REMEMBERED:
                    tally.outputs.append(row.question.answers[0].usage.output_tokens)
            elif row.question.key in seen:
                tally.duplicates += 1
            else:
                seen.add(row.question.key)
                asked.append((row.question, row))
                continue
            row.release()
        tally.questions += len(asked)
        alone = self.answers.alone.constant_bytes
        tally.unpacked_bytes += sum(row.prompt.size + alone for _, row in asked if row.prompt)
        return asked

    def _count_requests(self, asked: Sequence[Asked], *, more: bool) -> None:
        tally = self.tally
        for request, worst in self.answers.requests(asked, times=self._asked_at_most(), more=more):
            tally.requests += 1
            tally.packed += len(request.asked) if request.divisible else 0
            tally.ceiling += worst
            tally.text_bytes += request.prompt.size + request.endpoint.constant_bytes
            tally.prompt_bytes += request.bound
            sampled = (request.endpoint, request.given)
            if len(tally.sample) < _COUNTED:
                tally.sample.append(sampled)
            elif (place := self._random.randrange(tally.requests)) < _COUNTED:
                tally.sample[place] = sampled  # all have the same chance: rows may be sorted
            for _, row in request.asked:
                row.release()

    async def _input_tokens(self) -> tuple[int, bool]:
        """Tokens in of all requests together, and whether they rest on counts of the API."""
        sample = self.tally.sample
        counts = await asyncio.gather(
            *(line.provider.count_tokens(given) for line, given in sample)
        )
        known = [
            (count, line.provider.request_bytes(given))
            for count, (line, given) in zip(counts, sample, strict=True)
            if count is not None
        ]
        if not known:
            return self._rough_tokens(), False
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
        tally, price = self.tally, self.answers.price
        likely_out = tally.questions * self._likely_output() + tally.packed * _PACKED_TOKENS
        estimate = CostEstimate(
            total_cost=None,
            total_tokens=tokens_in + likely_out,
            input_tokens=tokens_in,
            output_tokens=likely_out,
            rows=tally.rows,
            confidence="estimate" if counted else "rough",
            requests=tally.requests,
            questions=tally.questions,
            notes=self._notes(counted),
        )
        if price is not None and tally.requests:
            mean = tokens_in // tally.requests
            estimate.total_cost = self._likely_cost(price, mean, likely_out // tally.requests)
            least = self._cached(mean * (9 if counted else 6) // 10, 1.3)
            least += Usage(0, self._least_output() * tally.questions // tally.requests)
            estimate.low = min(price.cost(least) * tally.requests, estimate.total_cost)
            estimate.high = tally.ceiling
        elif price is not None:
            estimate.total_cost = estimate.low = estimate.high = Decimal(0)
        return estimate

    def _likely_cost(self, price: ModelPrice, mean: int, mean_out: int) -> Decimal:
        """All requests at their usual length; the first writes the cache, the others read it."""
        output = Usage(0, mean_out)
        reads = self._cached(mean, 1.0)
        first = Usage(reads.input_tokens, 0, 0, reads.cache_read_tokens)
        rest = price.cost(reads + output) * (self.tally.requests - 1)
        return price.cost(first + output) + rest

    def _cached(self, tokens: int, stretch: float) -> Usage:
        """So many input tokens, with those that the cache has; `stretch` allows for more."""
        settings, tally = self.answers.endpoints[-1].settings, self.tally
        if not settings.caches:
            return Usage(tokens)
        marked = _size(f"{settings.system or ''}{settings.cached_head}") * tally.requests
        cached = min(tokens, round(tokens * stretch * marked / max(1, tally.text_bytes)))
        return Usage(tokens - cached, 0, cached)

    def _likely_output(self) -> int:
        """Tokens out that an answer usually has; the ceiling doesn't rest on it."""
        schema, seen = self.parse.schema, self.tally.outputs
        likely = _TEXT_TOKENS if schema is None else 8 + _FIELD_TOKENS * len(schema.fields)
        if len(seen) >= _ENOUGH:
            likely = round(fmean(seen))
        return min(self.answers.alone.settings.max_tokens, likely)

    def _least_output(self) -> int:
        seen = self.tally.outputs
        return max(_FEWEST_TOKENS, min(seen) // 2) if len(seen) >= _ENOUGH else _FEWEST_TOKENS

    def _asked_at_most(self) -> int:
        """How often a row may be paid for."""
        return 1 if self.parse.schema is None else 1 + self.parse.reasks

    def _notes(self, counted: bool) -> tuple[str, ...]:
        tally, settings = self.tally, self.answers.endpoints[-1].settings
        how = (
            f"counted by the API on {len(tally.sample)} prompts"
            if counted
            else ("rough: a token for every 4 bytes")
        )
        notes = [f"input tokens {how}", self._output_note()]
        if isinstance(self.answers, Batches):
            notes.append("at the price of Message Batches; answers come within 24 hours")
        if tally.packed:
            notes.append(self._packing_note())
        if settings.caches:
            notes.append("what every request begins with is cached: written once, then read")
        notes.append(self._ceiling_note())
        if self.parse.schema is not None:
            notes[-1] += (
                f", asked again {self.parse.reasks} times because its answer breaks the schema"
            )
        return tuple(notes)

    def _ceiling_note(self) -> str:
        alone = f"{self.answers.alone.settings.max_tokens:,} tokens out for every"
        if not self.tally.packed:
            return f"the ceiling is {alone} request (max_tokens)"
        most = self.answers.endpoints[-1].settings.max_tokens
        return f"the ceiling is {most:,} tokens out for every pack and its halves, then {alone} row"

    def _packing_note(self) -> str:
        """What packs save, by the bytes that aren't sent, and what they may cost."""
        tally = self.tally
        apart = _rough(tally.unpacked_bytes, tally.questions)
        less = 100 - 100 * _rough(tally.text_bytes, tally.requests) // max(1, apart)
        saves = f"about {less} % fewer" if less > 0 else "no fewer"
        return (
            f"in packs: {tally.requests:,} requests for {tally.questions:,} rows, {saves} input "
            "tokens; answers may differ from those of one row a request"
        )

    def _output_note(self) -> str:
        seen = len(self.tally.outputs)
        if seen >= _ENOUGH:
            return f"output tokens by {seen:,} earlier answers to this prompt"
        return f"output tokens by a rule of thumb: {self._likely_output():,} an answer"


def _size(text: str) -> int:
    return len(text.encode("utf-8", "replace"))


def _rough(text_bytes: int, requests: int) -> int:
    """About how many tokens requests of so many bytes together have."""
    return text_bytes // _BYTES_A_TOKEN + _FRAME_TOKENS * requests


def projected(
    context: ExecutionContext, requests: int | None = None
) -> tuple[Decimal, Decimal] | None:
    """The least and the most USD that a run under way will probably have cost at its end.

    By the answers that it has paid for, from the fifth on, else None; the range narrows with each.
    `requests` is how many the whole run was expected to send, where that is known; otherwise every
    row that is left counts as one, or as its share of a pack.
    """
    metrics, spent = context.metrics, context.accumulated_cost
    left = max(0, context.total_rows - context.done_rows)
    if metrics.paid_questions > metrics.paid:
        left = math.ceil(left * metrics.paid / metrics.paid_questions)
    if requests is not None:
        left = min(left, max(0, requests - metrics.paid))
    if metrics.paid < _ENOUGH or not context.price_known:
        return None
    mean = float(metrics.paid_cost) / metrics.paid
    spread = math.sqrt(max(0.0, metrics.paid_squares / metrics.paid - mean**2))
    off = 3 * spread * math.sqrt(left + left**2 / metrics.paid)
    low, high = (Decimal(str(max(0.0, left * mean + sign * off))) for sign in (-1, 1))
    return spent + low, spent + high
