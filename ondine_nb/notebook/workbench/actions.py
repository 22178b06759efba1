"""What the workbench does: tries and their scores, the forecast, the run over everything."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from ...errors import ConfigurationError, OndineError
from ...evaluation import Change, Tries, Try, TryScore, changes
from ...models import CostEstimate
from ...pipeline import Run
from ...providers import FREE, capabilities
from ..comparison import Comparison
from ..ui import safe
from .draft import Workbench
from .forecast import Experience, Forecast, forecast
from .trials import Draft, Trial

__all__ = ["Work", "one_line", "started"]

REDRAW = 0.4  # seconds between two looks at a trial
MOST_WALKED = 5_000  # rows whose prompts are rendered for a forecast; more are scaled up


class Work:
    """Tries prompts one at a time, keeps each try, and has the latest forecast.

    `current` is the number of the try that shows, `ticked` of the one that it is held against; 0:
    none. What a try answered is in memory once it was made or opened here; else in the journal.
    """

    def __init__(self, bench: Workbench) -> None:
        self.bench = bench
        self.tries: Tries = Tries(bench.name, bench.folder)
        self.forecast: Forecast | None = None
        self.busy: bool = False
        self.current: int = 0
        self.ticked: int = 0
        self.running: Trial | None = None
        self.left: int = 0  # tries of this Preview that come after the one that runs
        self.trials: dict[int, Trial] = {}
        self._changed: dict[tuple[str, str], tuple[Change, ...]] = {}
        self._run: Any = None
        self._stopped = False
        self._ended: list[Trial] = []  # what they cost makes the forecast better

    # -- trials

    async def preview(self, draw: Callable[[], None]) -> Any:
        """The draft over the sample, as A; `draw` is called while it comes.

        By several models it is a try each, the bench's own the last one.
        """
        bench = self.bench
        await asyncio.to_thread(bench.refresh)
        positions = await asyncio.to_thread(bench.positions)

        def take(trial: Trial) -> None:
            bench.a, bench.b = trial, None

        return await self._all(bench.drafts(), positions, take, draw)

    async def compare(self, draw: Callable[[], None]) -> Any:
        """The draft over A's rows, as B. Raises `ConfigurationError` where they can't differ."""
        bench = self.bench
        if reason := self.no_comparison():
            raise ConfigurationError(reason)
        base = bench.a
        assert base is not None

        def take(trial: Trial) -> None:
            bench.a, bench.b = base, trial

        shown = await self._all([bench.draft()], base.positions, take, draw)
        known = [number for number, trial in self.trials.items() if trial is base]
        self.ticked = next((it for it in known if it != self.current), self.ticked)
        draw()
        return shown

    def no_comparison(self) -> str:
        """Why there is nothing to compare now; "" if there is."""
        a = self.bench.a
        if a is None:
            return "Preview first: what it shows becomes A"
        if not a.answered:
            return "A has no answers to compare with: preview again"
        if self.bench.draft() == a.draft:
            return "nothing has changed since A: change the prompt, a control or an option"
        return ""

    def comparison(self, field: str | None = None) -> Comparison | None:
        """The ticked try as the first, the current one as the second; None where one lacks.

        `field` is the one that is compared. Raises `ColumnError` where they have no field, or no
        row, in common.
        """
        numbers, truths = (self.ticked, self.current), self.bench.truths()
        trials = [self.trials[number] for number in numbers if self.trials.get(number)]
        if len(trials) < len(numbers):
            return None
        one, two = (
            trial.side(self.tries.get(number), self.bench.frame)
            for trial, number in zip(trials, numbers, strict=True)
        )
        shown = trials[0].served | trials[1].served
        served = [at for at, position in enumerate(one.positions) if position in shown]
        labels = {name: [truths.of(at, name) for at in one.positions] for name in truths.fields}
        labels = {name: it for name, it in labels.items() if any(value is not None for value in it)}
        wanted = field or (truths.judged if truths.judged in labels else None)
        return Comparison(one, two, labels, wanted, served=served)

    def stop(self) -> None:
        """Stop the preview that is under way, if any: nothing more is sent."""
        self._stopped = True
        if self._run is not None:
            self._run.stop()

    async def _all(
        self,
        drafts: Sequence[Draft],
        positions: Sequence[int],
        take: Callable[[Trial], None],
        draw: Callable[[], None],
    ) -> Any:
        if self.busy:
            raise ConfigurationError("a preview is under way: wait for it, or stop it")
        self.busy, self._stopped = True, False
        shown = None
        try:
            for at, draft in enumerate(drafts):
                self.left = len(drafts) - at - 1
                shown = await self._try(draft, positions, take, draw)
                if self._stopped:
                    break
            return shown
        finally:
            self.busy, self._run, self.running, self.left = False, None, None, 0
            draw()

    async def _try(
        self,
        draft: Draft,
        positions: Sequence[int],
        take: Callable[[Trial], None],
        draw: Callable[[], None],
    ) -> Any:
        pipeline = await asyncio.to_thread(self.bench.pipeline, draft, positions)
        trial = await asyncio.to_thread(Trial.start, draft, pipeline, positions)
        self._run = run = Run(pipeline, name="preview")

        def look() -> None:
            self.running = now = trial.now(run)
            take(now)
            draw()

        look()
        await followed(run, look)
        now = trial.now(run)
        self.running = None
        self._ended = [*self._ended[-7:], now]
        if now.done:
            await asyncio.to_thread(self._keep, now, str(run.id))
        take(now)
        return run.frame

    def _keep(self, trial: Trial, run: str) -> None:
        """Put a trial among the tries: it is the current one from now on."""
        bench = self.bench
        kept = self.tries.keep(
            Try(
                {"prompt": trial.draft.prompt, **trial.draft.options},
                trial.positions,
                trial.content,
                frame_rows=len(bench.frame),
                rows=trial.done,
                answered=trial.answered,
                failed=trial.failed,
                cost=trial.worth,
                input_tokens=sum(it.usage.input_tokens for it in trial.outcomes),
                output_tokens=sum(it.usage.output_tokens for it in trial.outcomes),
                p50=trial.latency,
                scores=self.scores_of(trial),
                run=run,
            )
        )
        self.trials[kept.number] = trial
        self.current = kept.number
        if self.ticked == self.current:
            self.ticked = 0

    # -- what was tried before

    def open_last(self) -> None:
        """Show the last try, where there is one: its answers come by `recall`."""
        if self.current == 0 and (known := self.tries.tries):
            self.current = known[-1].number

    async def recall(self, number: int) -> Trial | None:
        """The answers of a try, as the journal has them: nothing is sent.

        None where its rows aren't in the frame any more, or its settings can't be read any more.
        """
        if number in self.trials:
            return self.trials[number]
        kept = self.tries.get(number)
        positions = list(kept.sample)
        if not positions or max(positions) >= len(self.bench.frame):
            return None
        draft = self.bench.draft_of(kept)
        try:
            pipeline = await asyncio.to_thread(self.bench.pipeline, draft, positions)
            trial = await asyncio.to_thread(Trial.start, draft, pipeline, positions)
            if trial.content != kept.content:
                return None
            pipeline.recorded = False
            pipeline.nothing_new = "it isn't in the journal any more: Preview asks it again"
            run = Run(pipeline, name="tried")
            await followed(run, lambda: None)
        except OndineError:
            return None
        found = replace(trial.now(run), state="done", message="", note="")
        return self.trials.setdefault(number, found)

    async def restore(self, number: int) -> dict[str, str]:
        """Put a try on the bench, whole, with its answers. Raises `ConfigurationError`.

        Gives the values, as texts, of those controls that were given: they are widgets.
        """
        kept = self.tries.get(number)
        params = self.bench.restore(kept)
        self.current = number
        if self.ticked == number:
            self.ticked = 0
        self.bench.a, self.bench.b = await self.recall(number), None
        return params

    def knows_changes(self, before: Try | None, after: Try) -> bool:
        """Whether `changed` need not compare texts."""
        return before is None or (before.id, after.id) in self._changed

    def changed(self, before: Try | None, after: Try) -> tuple[Change, ...]:
        """What a try has changed against another; word by word once, for tries don't change."""
        if before is None:
            return ()
        both = before.id, after.id
        if both not in self._changed:
            self._changed[both] = tuple(changes(before, after))
        return self._changed[both]

    def tick(self, number: int) -> None:
        """Hold the current try against this one; against none if it was this one."""
        self.ticked = 0 if number in (self.ticked, self.current) else number

    # -- scores

    def scores_of(self, trial: Trial) -> list[TryScore]:
        """How right a trial's answers are by the labels at hand, the judged field first."""
        truths = self.bench.truths()
        answers = trial.scorable
        first = truths.judged
        names = sorted((it.name for it in trial.fields), key=lambda name: name != first)
        found = [truths.scores(name, answers) for name in names]
        return [TryScore.of(it) for it in found if it is not None]

    def rescore(self) -> None:
        """Bring the scores of all tries that are in memory to the labels as they are now."""
        for number, trial in list(self.trials.items()):
            scores = self.scores_of(trial)
            if list(self.tries.get(number).scores) != scores:
                self.tries.score(number, scores)

    # -- the forecast

    async def estimate(self) -> Forecast:
        """What the whole run would cost and how long it would take."""
        bench, draft = self.bench, self.bench.draft()
        rows = len(bench.frame)
        walked = MOST_WALKED if rows > MOST_WALKED else None
        pipeline = await asyncio.to_thread(self._walked, draft, walked)
        most = capabilities(pipeline.provider).max_concurrency
        free = pipeline.provider.price is FREE
        known = _free(rows) if free else await pipeline.estimate_async()
        options = pipeline.options
        self.forecast = forecast(
            known if walked is None else _scaled(known, rows, walked),
            pipeline.provider.price,
            Experience.of(trial for trial in self._ended if _alike(trial.draft, draft)),
            width=options.width(most),
            grows=options.concurrency == "auto" and most is None,
            budget=options.budget,
            free=free,
        )
        return self.forecast

    def _walked(self, draft: Draft, rows: int | None) -> Any:
        frame = self.bench.frame
        return self.bench.pipeline(draft, None if rows is None else frame.sample_positions(rows))


async def followed(run: Any, look: Callable[[], None]) -> None:
    """Start the run and `look` now and then until nothing of it is in flight."""
    over = asyncio.Event()
    run.start()
    run.when_over(lambda _: over.set())
    seen = -1
    try:
        while not over.is_set():
            done = run.context.done_rows
            if done != seen:
                look()
                seen = done
            try:
                await asyncio.wait_for(over.wait(), REDRAW)
            except TimeoutError:
                continue
    except asyncio.CancelledError:
        run.stop()
        raise
    look()


def _alike(one: Draft, other: Draft) -> bool:
    """Whether the answers of one say how long those of the other will be."""
    deciding = ("model", "schema", "effort", "thinking", "max_tokens", "base_url")
    return all(one.options.get(name) == other.options.get(name) for name in deciding)


def _free(rows: int) -> CostEstimate:
    nothing = Decimal(0)
    return CostEstimate(nothing, 0, 0, 0, rows, low=nothing, high=nothing, requests=rows)


def _scaled(estimate: CostEstimate, rows: int, walked: int) -> CostEstimate:
    """An estimate of `walked` rows, as one of all `rows`."""
    share = Decimal(rows) / walked

    def more(amount: Decimal | None) -> Decimal | None:
        return None if amount is None else amount * share

    return replace(
        estimate,
        total_cost=more(estimate.total_cost),
        low=more(estimate.low),
        high=more(estimate.high),
        input_tokens=int(estimate.input_tokens * share),
        output_tokens=int(estimate.output_tokens * share),
        requests=int((estimate.requests or 0) * share),
        questions=int((estimate.questions or 0) * share),
        rows=rows,
        notes=(f"by {walked:,} of {rows:,} rows", *estimate.notes),
    )


async def started(bench: Workbench, source: str, magics: Any) -> Any:
    """The run over the whole frame, under way, as `%%ondine … --background` starts it."""
    draft = bench.draft()
    # What the session sets and the bench doesn't is off.
    options = dict.fromkeys(bench.session) | dict(draft.options)
    options |= {"out": bench.out, "input": source, "journal": bench.journal}
    return await magics.start({**options, "quiet": False}, bench.data, draft.prompt)


def one_line(error: BaseException) -> str:
    """An error as the workbench shows it."""
    return f"{type(error).__name__}: {safe(error)}"
