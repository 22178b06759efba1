"""What a run would send and cost, before anything is paid."""

from __future__ import annotations

import asyncio
import contextlib
import json
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
from ..providers import ModelPrice, Settings
from ..sending import Endpoint, Question, answer_in
from ..stages import BatchInvokeStage, InvokeStage, PackInvokeStage, ParseStage, PromptStage, ids_of
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
_UNOPENED_BYTES = 768  # at most what a provider that isn't open yet will add to its bounds
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
        self.invoke: InvokeStage = next(s for s in plan.stages if isinstance(s, InvokeStage))
        self.parse: ParseStage = next(s for s in plan.stages if isinstance(s, ParseStage))
        self.tally: Tally = Tally()
        self._random = random.Random(0)  # noqa: S311
        self._constant = {line: _constant(line.settings) for line in self.invoke.lines}
        self._unopened = False
        self._pack: Any = None
        self._in_pack: list[tuple[bytes, Prompt]] = []

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
        self._unopened = True
        await self.invoke.journal.refresh()
        await self._walk()
        await self._remember()
        return self._priced(self._rough_tokens(), False)

    def _rough_tokens(self) -> int:
        tally = self.tally
        return _rough(tally.text_bytes, tally.requests)

    async def _remember(self) -> None:
        """Output tokens of earlier answers to this prompt, also where the rows are new."""
        tally, journal = self.tally, self.invoke.journal
        if len(tally.outputs) >= _ENOUGH or not tally.requests:
            return
        settings = self.plan.context.settings
        runs = await asyncio.to_thread(same_question, journal.folder, settings)
        read = self.invoke.line.can.read
        for entry in await journal.latest(runs, _MOST_REMEMBERED) if runs else []:
            with contextlib.suppress(MalformedAnswerError):
                tally.outputs.append(answer_in(entry, read).usage.output_tokens)

    async def _walk(self) -> None:
        seen: set[bytes] = set()
        context: ExecutionContext = self.plan.context
        for chunk in self.plan.rowset.chunks(self.prompt_stage.columns):
            await self.prompt_stage.prepare(chunk, context)
            await self.invoke.prepare(chunk, context)
            self._count(chunk, seen)
            for row in chunk:
                row.release()
        self._count_pack()

    def _count(self, chunk: Sequence[Row], seen: set[bytes]) -> None:
        tally = self.tally
        for row in chunk:
            tally.rows += 1
            if row.prompt is None:
                tally.skipped += 1
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
                self._count_question(row.question, row.prompt)

    def _count_question(self, question: Question, prompt: Prompt) -> None:
        """One more; packs are filled one after another, so theirs follow one another too."""
        tally, line = self.tally, self.invoke.line
        tally.questions += 1
        tally.unpacked_bytes += prompt.size + self._constant[line]
        tally.ceiling += self._worst(line, prompt) * self._asked_at_most()
        if question.pack is None:
            self._count_request(line, prompt)
            return
        if question.pack is not self._pack:
            self._count_pack()
            self._pack = question.pack
        self._in_pack.append((question.key, prompt))

    def _count_pack(self) -> None:
        asked, self._in_pack = self._in_pack, []
        if not isinstance(self.invoke, PackInvokeStage) or not asked:
            return
        if len(asked) == 1:
            self._count_request(self.invoke.line, asked[0][1])
            return
        self.tally.packed += len(asked)
        ids = ids_of([key for key, _ in asked])
        prompts = dict(zip(ids, (prompt.text for _, prompt in asked), strict=True))
        line, prompt = self.invoke.packed, Prompt(self.invoke.form.request(prompts))
        # Two halves may follow it, and then each of its rows alone.
        self.tally.ceiling += self._worst(line, prompt) * 3
        self._count_request(line, prompt)

    def _count_request(self, line: Endpoint, prompt: Prompt) -> None:
        tally = self.tally
        tally.requests += 1
        tally.text_bytes += prompt.size + self._constant[line]
        tally.prompt_bytes += self._bound(line, prompt)
        if len(tally.sample) < _COUNTED:
            tally.sample.append((line, line.given(prompt)))
        elif (place := self._random.randrange(tally.requests)) < _COUNTED:
            tally.sample[place] = (
                line,
                line.given(prompt),
            )  # all have the same chance: rows may be sorted

    def _bound(self, line: Endpoint, prompt: Prompt) -> int:
        """Input tokens that a request can't pass."""
        unknown = self._constant[line] + _UNOPENED_BYTES if self._unopened else 0
        return line.provider.request_bytes(line.given(prompt)) + unknown

    def _worst(self, line: Endpoint, prompt: Prompt) -> Decimal:
        price = self.invoke.price
        if price is None:
            return Decimal(0)
        return price.ceiling(self._bound(line, prompt), line.settings.max_tokens)

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
        tally, price = self.tally, self.invoke.price
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
        settings, tally = self.invoke.lines[-1].settings, self.tally
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
        return min(self.invoke.settings.max_tokens, likely)

    def _least_output(self) -> int:
        seen = self.tally.outputs
        return max(_FEWEST_TOKENS, min(seen) // 2) if len(seen) >= _ENOUGH else _FEWEST_TOKENS

    def _asked_at_most(self) -> int:
        """How often a row may be paid for."""
        return 1 if self.parse.schema is None else 1 + self.parse.reasks

    def _notes(self, counted: bool) -> tuple[str, ...]:
        tally, settings = self.tally, self.invoke.lines[-1].settings
        how = (
            f"counted by the API on {len(tally.sample)} prompts"
            if counted
            else ("rough: a token for every 4 bytes")
        )
        notes = [f"input tokens {how}", self._output_note()]
        if isinstance(self.invoke, BatchInvokeStage):
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
        alone = f"{self.invoke.settings.max_tokens:,} tokens out for every"
        if not self.tally.packed:
            return f"the ceiling is {alone} request (max_tokens)"
        most = self.invoke.lines[-1].settings.max_tokens
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


def _constant(settings: Settings) -> int:
    """The bytes of what is in every request beside its prompt."""
    schema = "" if settings.schema is None else json.dumps(settings.schema)
    return _size(f"{settings.system or ''}{schema}")


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
