"""What a run would send and cost, before anything is paid."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
from array import array
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from statistics import fmean, linear_regression, stdev
from typing import Any

from ..errors import MalformedAnswerError
from ..evaluation import Examples
from ..models import ZERO, CostEstimate, MediaCounts, Part, Prompt, Usage
from ..orchestration import ExecutionContext, PipelineStage, Row, RowSet, RowStage, RowStream
from ..prompts import Schema
from ..providers import Answer, BatchLimits, ModelPrice
from ..sending import Endpoint, Question, Request, answer_in, least_tokens
from ..stages import (
    Asked,
    Batches,
    FitCheck,
    InvokeStage,
    MergeDraft,
    Plan,
    PromptStage,
    SplitStage,
    TreeStage,
    ballots_of,
)
from ..text import dollars
from .records import same_question

__all__ = ["Estimator", "JointEstimator", "Tally", "by_answers", "duration", "projected"]

_COUNTED = 8
_BYTES_A_TOKEN = 4
_TEXT_TOKENS = 150
_FIELD_TOKENS = 12
_QUOTE_TOKENS = 40
_FEWEST_TOKENS = 4
_FIRST_PROMPTS = 3
_ENOUGH = 5  # earlier answers that say more than a rule of thumb
_MOST_REMEMBERED = 400
_FRAME_TOKENS = 16  # what roles and turns add to a request's texts
_MOST_BATCHES = 1_000
_WIDE, _NARROW = 256, 32  # requests at once, where the run finds its own number
_SURE = 0.05  # a share by which even many answers may be off
_UNSURE = {"estimate": 0.03, "rough": 0.3}  # the same for input tokens, by how they came about
_MILLION = Decimal(1_000_000)
_PACKED_TOKENS = 10  # what an answer's id and braces take in a pack


@dataclass
class Tally:
    """What rendering all prompts shows: rows by what would happen to them, and what goes out.

    `questions` are asked by `requests`, `packed` of them in packs; `unpacked_bytes` is what a
    request for each would hold, `body_bytes` about what all bodies have. Of each request, `sizes`
    has the bytes of its texts, and `weights` what else there is, too: what its input tokens go by.
    A token of a picture or document counts as four bytes in both; `media` counts these. `ceiling`
    is the most USD that all can lead to, `first` what it is where no answer breaks the schema. Of
    groups, `rows` are their number, and `levels` how many questions the tallest one takes, one
    after another; `to_come` answers stand in prompts, and aren't there yet. `too_long` rows don't
    fit the model.
    """

    rows: int = 0
    levels: int = 1
    to_come: int = 0
    skipped: int = 0
    too_long: int = 0
    from_journal: int = 0
    duplicates: int = 0
    questions: int = 0
    packed: int = 0
    requests: int = 0
    text_bytes: int = 0
    unpacked_bytes: int = 0
    body_bytes: int = 0
    ceiling: Decimal = ZERO
    first: Decimal = ZERO
    sizes: array[int] = field(default_factory=lambda: array("Q"))
    weights: array[int] = field(default_factory=lambda: array("Q"))
    media: MediaCounts = field(default_factory=MediaCounts)
    first_prompts: list[str] = field(default_factory=list)
    sample: list[tuple[Endpoint, str | Prompt]] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)


class Estimator:
    """Counts what a plan would send for these rows, and prices it, without sending what costs.

    `asker` has the plan and looks the journal up, `stages` makes the row stages of a run like it;
    `examples` stand before the prompts, and what is `attached` before these; `quotes` is how many
    fields of the schema have evidence, `times` how often an answer may be paid for, `votes` how
    many answers each row has, and `settings` what is recorded of the run: earlier runs of the same
    question are known by it.
    """

    def __init__(
        self,
        rows: RowSet | RowStream,
        asker: InvokeStage,
        stages: Callable[[], Sequence[PipelineStage]],
        *,
        examples: Examples | None = None,
        attached: Sequence[Part] = (),
        schema: Schema | None = None,
        quotes: int = 0,
        times: int = 1,
        votes: int = 1,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.rows = rows
        self.asker = asker
        self.schema = schema
        self.quotes = quotes
        self.times = times
        self.votes = votes
        self.settings: dict[str, Any] = dict(settings or {})
        self.tally: Tally = Tally()
        self._examples = examples
        self._attached = tuple(attached)
        self._stages = stages
        self._tree: TreeStage[Any, Any] | None = None
        self._fits: list[FitCheck] = []
        self._context = ExecutionContext()
        self._random = random.Random(0)  # noqa: S311

    @property
    def answers(self) -> Plan:
        """The plan, which a run may change before its first request."""
        return self.asker.plan

    async def estimate(self) -> CostEstimate:
        """The estimate; `tally` has its counts. Raises `JournalError` or `ConfigurationError`."""
        await self.asker.open(self._context)
        try:
            await self.asker.open_provider()
            await self._walk()
            tokens, counted = await self._input_tokens()
        finally:
            await self.asker.close()
        await self._remember()
        return self._priced(tokens, counted)

    async def quick(self) -> CostEstimate:
        """The same without asking the provider anything: input tokens are rough."""
        await self.asker.lookup.journal.refresh()
        await self._walk(asks=False)
        await self._remember()
        return self._priced(self._rough_tokens(), False)

    async def of_prepared(self, rows: Sequence[Row]) -> CostEstimate:
        """The same of rows that a run has prepared: they go on, with the requests made here."""
        asked = self._count(rows, set(), release=False)
        if asked:
            await self.asker.open_provider()
        self._count_requests(asked, more=False, release=False)
        await self._remember()
        return self._priced(self._rough_tokens(), False)

    def _rough_tokens(self) -> Counter[int]:
        """How many requests have so many input tokens, by the bytes of their texts."""
        tokens = Counter[int]()
        for size, requests in Counter(self.tally.sizes).items():
            tokens[_rough(size, 1)] += requests
        return tokens

    async def _remember(self) -> None:
        """Output tokens of earlier answers to this prompt, also where the rows are new."""
        tally, journal = self.tally, self.asker.lookup.journal
        if len(tally.outputs) >= _ENOUGH or not tally.requests:
            return
        runs = await asyncio.to_thread(same_question, journal.folder, self.settings)
        read, priced = self.asker.lookup.read, self.answers.alone.provider.price is not None
        for entry in await journal.latest(runs, _MOST_REMEMBERED) if runs else []:
            with contextlib.suppress(MalformedAnswerError):
                self._count_output(answer_in(entry, read, priced=priced))

    def _count_output(self, answer: Answer) -> None:
        if answer.usage.known:
            self.tally.outputs.append(answer.usage.output_tokens)

    async def _walk(self, *, asks: bool = True) -> None:
        """Count all rows; the provider may be asked how long prompts are, unless it `asks` not."""
        seen: set[bytes] = set()
        making = self._making(asks)
        for chunk in self.rows.chunks(making[0].columns):
            for stage in making:
                await stage.prepare(chunk, self._context)
            if self._tree is not None:
                await self._count_trees(self._tree, chunk, seen)
                chunk = [row for row in chunk if row.prompt is not None or row.settled]
            asked = chunk if self.votes == 1 else ballots_of(chunk, self.votes)
            await self.asker.meet(asked)
            self._count_requests(self._count(asked, seen), more=True)
        self._count_requests([], more=False)

    def _making(self, asks: bool) -> list[RowStage]:
        """The stages that make prompts, as those of a run: each makes a row's tree once."""
        making = list[RowStage]()
        for stage in self._stages():
            if not isinstance(stage, PromptStage | TreeStage):
                continue
            making.append(stage)
            if isinstance(stage, TreeStage):
                self._tree = stage
            checks = stage.checks if isinstance(stage, PromptStage) else ()
            self._fits += [each for each in checks if isinstance(each, FitCheck)]
        own = self._tree.fit if isinstance(self._tree, SplitStage) else None
        for fit in filter(None, (own, *(check.fit for check in self._fits))):
            fit.counts = asks
        return making

    async def _count_trees(
        self, trees: TreeStage[Any, Any], rows: Sequence[Row], seen: set[bytes]
    ) -> None:
        """Count the rows that take several requests, and what these are."""
        tally = self.tally
        for row in rows:
            if row.prompt is not None or row.settled:
                continue
            worded, drafts = await trees.forecast(row)
            asked = self._count(worded, seen)
            tally.rows += 1 - len(worded)  # they are questions of this row
            self._count_requests(asked, more=True)
            for draft in drafts:
                self._count_draft(draft)
        tally.levels = max(tally.levels, trees.levels)

    def _count_draft(self, draft: MergeDraft) -> None:
        """Count a question that merges answers that aren't there yet: as long as answers are."""
        tally, alone = self.tally, self.answers.alone
        likely = self._likely_output() * _BYTES_A_TOKEN * draft.answers
        longest = alone.settings.max_tokens * _BYTES_A_TOKEN * draft.answers
        request = Request(alone, draft.prompt, ((Question(b""), draft.row),)).measure()
        worst = alone.ceiling(request.bound + max(likely, longest))
        tally.questions += 1
        tally.requests += 1
        tally.to_come += draft.answers
        tally.ceiling += worst * self.times
        tally.first += worst
        size = request.prompt.size + likely + alone.constant_bytes
        tally.unpacked_bytes += size
        tally.text_bytes += size
        tally.sizes.append(size)
        tally.weights.append(request.bound + likely)
        tally.body_bytes += request.bound + likely

    def _count(
        self, chunk: Sequence[Row], seen: set[bytes], *, release: bool = True
    ) -> list[Asked]:
        """Count the rows by what would happen to them; gives those that would be asked."""
        tally, asked = self.tally, list[Asked]()
        for row in chunk:
            first = row.prompt is None or row.prompt.vote == 1
            tally.rows += first
            if row.prompt is None or row.question is None:
                too_long = row.failure is not None and row.failure.error_type == "TooLongError"
                tally.too_long += too_long
                tally.skipped += not too_long
                if release:
                    row.release()
                continue
            if first and len(tally.first_prompts) < _FIRST_PROMPTS:
                tally.first_prompts.append(row.prompt.text)
            if row.question.answers:
                tally.from_journal += 1
                if len(tally.outputs) < _MOST_REMEMBERED:
                    self._count_output(row.question.answers[0])
            elif row.question.key in seen:
                tally.duplicates += 1
            else:
                seen.add(row.question.key)
                asked.append((row.question, row))
                continue
            if release:
                row.release()
        tally.questions += len(asked)
        alone = self.answers.alone.constant_bytes
        tally.unpacked_bytes += sum(row.prompt.size + alone for _, row in asked if row.prompt)
        return asked

    def _count_requests(self, asked: Sequence[Asked], *, more: bool, release: bool = True) -> None:
        tally, again = self.tally, self.times - 1
        constant = {each: each.constant_bytes for each in self.answers.endpoints}
        for request, worst in self.answers.requests(asked, times=self.times, more=more):
            tally.requests += 1
            tally.packed += len(request.asked) if len(request.asked) > 1 else 0
            tally.ceiling += worst
            tally.first += worst - request.worst_case * again
            less = 0 if request.prompt.is_text else self._less(request.prompt)
            size = request.prompt.size + constant[request.endpoint] - less
            tally.text_bytes += size
            tally.sizes.append(size)
            tally.weights.append(request.bound - less)
            tally.body_bytes += request.weight or request.bound
            sampled = (request.endpoint, request.given)
            if len(tally.sample) < _COUNTED:
                tally.sample.append(sampled)
            elif (place := self._random.randrange(tally.requests)) < _COUNTED:
                tally.sample[place] = sampled  # all have the same chance: rows may be sorted
            for _, row in request.asked if release else ():
                row.release()

    def _less(self, prompt: Prompt) -> int:
        """By how much a prompt likely weighs less than its bound; its pictures are counted."""
        self.tally.media.add(prompt, len(self._attached))
        return _beyond_likely(prompt)

    async def _input_tokens(self) -> tuple[Counter[int], bool]:
        """How many requests have so many input tokens; whether it rests on counts of the API."""
        sample = self.tally.sample
        counts = await asyncio.gather(
            *(line.provider.count_tokens(given) for line, given in sample)
        )
        known = [
            (count, line.provider.request_bytes(given) - _beyond_likely(given))
            for count, (line, given) in zip(counts, sample, strict=True)
            if count is not None
        ]
        if not known:
            return self._rough_tokens(), False
        return self._by_size([size for _, size in known], [count for count, _ in known]), True

    def _by_size(self, sizes: list[int], counts: list[int]) -> Counter[int]:
        """The tokens of each request by the line through those that were counted.

        A line, not a ratio: what is the same in every request weighs more in short ones.
        """
        slope = linear_regression(sizes, counts).slope if len(set(sizes)) > 1 else 0.0
        base = (sum(counts) - slope * sum(sizes)) / len(sizes)
        if slope <= 0:
            slope, base = sum(counts) / sum(sizes), 0.0
        return Counter(max(1, round(base + slope * bound)) for bound in self.tally.weights)

    def _priced(self, tokens: Counter[int], counted: bool) -> CostEstimate:
        """`tokens` says how many requests have so many input tokens."""
        tally, price = self.tally, self.answers.price
        likely_out = tally.questions * self._likely_output() + tally.packed * _PACKED_TOKENS
        tokens_in = sum(each * requests for each, requests in tokens.items())
        estimate = CostEstimate(
            total_cost=None,
            total_tokens=tokens_in + likely_out,
            input_tokens=tokens_in,
            output_tokens=likely_out,
            rows=tally.rows,
            confidence="estimate" if counted else "rough",
            requests=tally.requests,
            questions=tally.questions,
            pictures=tally.media.pictures,
            pages=tally.media.pages,
        )
        if price is not None and tally.requests:
            mean_out = likely_out // tally.requests
            estimate.total_cost = self._cost(price, tokens, mean_out, first=True)
            least_out = self._least_output() * tally.questions // tally.requests
            share = 0.9 if counted else 0.6
            low = self._cost(price, tokens, least_out, share=share, stretch=1.3)
            low -= self._shorter(price)
            estimate.low = max(ZERO, min(low, estimate.total_cost))
            estimate.high = tally.ceiling + self._probes()
        elif price is not None:
            estimate.total_cost = estimate.low = estimate.high = ZERO
        estimate.notes = self._notes(estimate, counted)
        return estimate

    def _shorter(self, price: ModelPrice) -> Decimal:
        """How much less the answers that are to stand in prompts may come to, in USD."""
        tokens = self.tally.to_come * (self._likely_output() - self._least_output())
        return price.input.base * max(0, tokens) / _MILLION

    def _probes(self) -> Decimal:
        """The most that it can cost to find out how a schema is asked for, in USD."""
        routes = self.asker.routes
        return ZERO if routes is None or routes.decided else routes.worst_case

    def _cost(
        self,
        price: ModelPrice,
        tokens: Counter[int],
        out: int,
        *,
        share: float = 1.0,
        stretch: float = 1.0,
        first: bool = False,
    ) -> Decimal:
        """USD for all requests, each by the tier of its own length, with `out` tokens out.

        `share` of the input tokens is taken, and `stretch` allows for more that the cache has. With
        `first`, one request writes the cache and the others read it.
        """
        total, cached = ZERO, self._cached_tokens(stretch)
        for each, requests in tokens.items():
            asked = round(each * share)
            read = min(asked, cached)
            total += price.cost(Usage(asked - read, out, read)) * requests
        if first and cached:
            read = min(cached, next(iter(tokens)))
            total += price.cost(Usage(0, 0, 0, read)) - price.cost(Usage(0, 0, read))
        return total

    def _cached_tokens(self, stretch: float) -> int:
        """The tokens of what every request begins with, where that is cached; `stretch` more."""
        settings = self.answers.endpoints[-1].settings
        if not settings.caches:
            return 0
        texts = _size(f"{settings.system or ''}{settings.cached_head}") * stretch / 4
        others = sum(getattr(it, "likely", 0) for it in self._attached[: settings.cached_parts])
        return round(texts) + others

    def _likely_output(self) -> int:
        """Tokens out that an answer usually has; the ceiling doesn't rest on it."""
        schema, seen = self.schema, self.tally.outputs
        likely = _TEXT_TOKENS if schema is None else 8 + _FIELD_TOKENS * len(schema.fields)
        likely += _QUOTE_TOKENS * self.quotes
        if len(seen) >= _ENOUGH:
            likely = round(fmean(seen))
        return min(self.answers.alone.settings.max_tokens, likely)

    def _least_output(self) -> int:
        seen = self.tally.outputs
        return max(_FEWEST_TOKENS, min(seen) // 2) if len(seen) >= _ENOUGH else _FEWEST_TOKENS

    def _notes(self, estimate: CostEstimate, counted: bool) -> tuple[str, ...]:
        tally, settings = self.tally, self.answers.endpoints[-1].settings
        how = (
            f"counted by the API on {len(tally.sample)} prompts"
            if counted
            else ("rough: a token for every 4 bytes")
        )
        notes = [f"input tokens {how}", self._output_note()]
        if told := str(tally.media):
            notes.append(f"the prompts to be sent hold {told}")
        if self.votes > 1:
            notes.append(f"each row is asked {self.votes} times, and its fields are decided")
        if isinstance(self.answers, Batches):
            notes.append("at the price of batches; answers come within 24 hours")
            notes += self._batches_note(self.answers, estimate)
        of_trees = [] if self._tree is None else [self._tree.note]
        notes[:0] = filter(None, [*of_trees, *(check.note for check in self._fits)])
        if self._examples is not None:
            notes += [self._examples.line, self._examples_note(self._examples)]
        if tally.packed:
            notes.append(self._packing_note())
        if settings.caches:
            notes.append("what every request begins with is cached: written once, then read")
        if self.asker.routes is not None and estimate.requests:
            notes += filter(None, [self.asker.routes.outlook])
        notes.append(self._ceiling_note())
        if self.times > 1:
            notes[-1] += (
                f", asked again {self.times - 1} times because its answer breaks the schema"
            )
        return tuple(notes)

    def _examples_note(self, shown: Examples) -> str:
        """What the examples add to each request and to the bill, and whether they are cached."""
        tokens, requests, price = (
            shown.size // _BYTES_A_TOKEN,
            self.tally.requests,
            self.answers.price,
        )
        settings = self.answers.endpoints[-1].settings
        cached = bool(settings.cached_head) and not shown.nearest
        said = f"they are about {tokens:,} tokens of each request"
        if price is not None:
            once = price.cost(Usage(tokens, 0))
            written, read = price.cost(Usage(0, 0, 0, tokens)), price.cost(Usage(0, 0, tokens))
            rest = max(0, requests - 1)
            cost = min(requests, 1) * written + rest * read if cached else requests * once
            said += f", {dollars(cost)} of the likely cost"
        least = least_tokens(settings.model) or 0
        if cached:
            return f"{said}: cached, so they are paid in full once"
        if shown.nearest:
            return f"{said}: not cached, for each row has its own"
        too_short = f": {settings.model} caches from {least:,} tokens on" if tokens < least else ""
        return f"{said}, not cached{too_short}"

    def _batches_note(self, plan: Batches, estimate: CostEstimate) -> list[str]:
        """How many batches there will be: by the API's limits, or fewer at a time by a budget."""
        room, tally = plan.budget.room, self.tally
        if not tally.requests:
            return []
        if room is None or tally.first <= room:
            return [self._size_note(plan.api.limits)]
        worst = tally.first / tally.requests
        likely = (estimate.total_cost or ZERO) / tally.requests
        batches, left = 0, tally.requests
        while left > 0 and room >= worst and batches < _MOST_BATCHES:
            sent = min(left, int(room / worst))
            batches, left, room = batches + 1, left - sent, room - sent * likely
        said = f"about {batches:,}" if left <= 0 else f"{batches:,} or more"
        one = dollars(tally.first)
        return [
            f"a batch reserves the worst case of all its requests, so this budget makes {said} "
            f"batches, one after another, each within a day: {one} makes one"
        ]

    def _size_note(self, limits: BatchLimits) -> str:
        """How many batches the limits of the API make, by about the bytes of the requests."""
        tally = self.tally
        by_size = math.ceil(tally.body_bytes / limits.size)
        batches = max(1, math.ceil(tally.requests / limits.requests), by_size)
        said = "in one batch" if batches == 1 else f"in about {batches:,} batches"
        return f"{said} (each takes {limits.requests:,} requests, {limits.size // 10**6:,} MB)"

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


def _beyond_likely(prompt: str | Prompt) -> int:
    """The bound on pictures' and documents' tokens, without the bytes that they likely are."""
    if isinstance(prompt, str) or prompt.is_text:
        return 0
    others = [part for part in prompt.parts if not isinstance(part, str)]
    return sum(it.size - _BYTES_A_TOKEN * getattr(it, "likely", it.size) for it in others)


class JointEstimator:
    """The estimates of several models, each of which is asked every row, as one.

    `tally` has the counts of the first one's rows, with the requests of all.
    """

    def __init__(self, estimators: Sequence[Estimator]) -> None:
        self.estimators = estimators

    @property
    def tally(self) -> Tally:
        """The counts of the first one's rows, with the requests of all."""
        first, *others = (each.tally for each in self.estimators)
        requests = first.requests + sum(each.requests for each in others)
        return replace(first, requests=requests)

    async def estimate(self) -> CostEstimate:
        """As `Estimator.estimate`."""
        return self._joined([await each.estimate() for each in self.estimators])

    async def quick(self) -> CostEstimate:
        """As `Estimator.quick`."""
        return self._joined([await each.quick() for each in self.estimators])

    def _joined(self, parts: Sequence[CostEstimate]) -> CostEstimate:
        def total(name: str) -> Any:
            values = [getattr(part, name) for part in parts]
            return None if None in values else sum(values[1:], values[0])

        media = ("pictures", "pages")
        counts = ("total_tokens", "input_tokens", "output_tokens", "requests", "questions", *media)
        money = ("total_cost", "low", "high")
        models = " and ".join(each.asker.plan.alone.settings.model for each in self.estimators)
        said = dict.fromkeys(note for part in parts for note in part.notes)
        return replace(
            parts[0],
            **{name: total(name) for name in (*counts, *money)},
            confidence=max(part.confidence for part in parts),  # "rough" where any is
            notes=(f"each row is asked of {models}", *said),
        )


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
    left += 0 if metrics.groups is None else metrics.groups.left
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


def by_answers(
    estimate: CostEstimate, price: ModelPrice, output_tokens: Sequence[int]
) -> tuple[Decimal, Decimal]:
    """The cost in USD at the lower and the upper end of what some answers' mean length leaves open.

    `output_tokens` are those of answers that were paid for: at least one.
    """
    asked = estimate.questions or estimate.requests or 1
    mean_in, mean_out = estimate.input_tokens / asked, fmean(output_tokens)
    spread = stdev(output_tokens) if len(output_tokens) > 1 else mean_out
    off_out = max(_SURE * mean_out, 2 * spread / math.sqrt(len(output_tokens)))
    off_in = _UNSURE.get(estimate.confidence, 0.3) * mean_in

    def cost(tokens_in: float, tokens_out: float) -> Decimal:
        prompt = round(tokens_in)
        dear = price.input.at(prompt) * Decimal(str(round(tokens_in, 2)))
        dear += price.output.at(prompt) * Decimal(str(round(max(1.0, tokens_out), 2)))
        return dear * asked / _MILLION

    return cost(mean_in - off_in, mean_out - off_out), cost(mean_in + off_in, mean_out + off_out)


def duration(
    requests: int, latencies: Sequence[float], width: int, grows: bool
) -> tuple[float, float] | None:
    """Seconds, from all at full `width` at the usual pace to few at once and slow.

    `latencies` (seconds, in order) are those of earlier answers; None where nothing is to be sent
    or nothing is known. Where the width `grows`, it may stay far below it.
    """
    if not requests or not latencies:
        return None
    middle = latencies[len(latencies) // 2]
    slow = latencies[min(len(latencies) - 1, len(latencies) * 95 // 100)]
    most, least = (min(width, _WIDE), min(width, _NARROW)) if grows else (width, width)
    return max(middle, middle * requests / most), max(slow, slow * requests / least)
