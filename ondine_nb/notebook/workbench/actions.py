"""What the workbench does: trials, comparisons, the forecast, and the run over everything."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from ...errors import ConfigurationError
from ...models import CostEstimate
from ...pipeline import Run
from ...providers import FREE, capabilities
from ..ui import clean, lines, money, row_count, safe
from .as_code import Code
from .draft import Workbench
from .forecast import Experience, Forecast, forecast
from .html import Facts, TrialsTable, results
from .trials import Draft, Trial, cells_at

__all__ = ["Work", "started"]

REDRAW = 0.4  # seconds between two looks at a trial
SHOWN = 20_000  # characters of a prompt or of code in the static view
MOST_WALKED = 5_000  # rows whose prompts are rendered for a forecast; more are scaled up


class Work:
    """Runs trials one at a time and keeps the latest forecast."""

    def __init__(self, bench: Workbench) -> None:
        self.bench = bench
        self.forecast: Forecast | None = None
        self.busy: bool = False
        self._run: Any = None
        self._trials: list[Trial] = []  # ended ones: what they cost makes the forecast better

    # -- trials

    async def preview(self, draw: Callable[[], None]) -> Any:
        """The draft over the sample, as A; `draw` is called while it comes."""
        bench = self.bench
        bench.refresh()

        def keep(trial: Trial) -> None:
            bench.a, bench.b = trial, None
            draw()

        return await self._try(bench.draft(), bench.positions(), keep, draw)

    async def compare(self, draw: Callable[[], None]) -> Any:
        """The draft over A's rows, as B. Raises `ConfigurationError` where they can't differ."""
        bench = self.bench
        if reason := self.no_comparison():
            raise ConfigurationError(reason)
        assert bench.a is not None

        def keep(trial: Trial) -> None:
            bench.b = trial
            draw()

        return await self._try(bench.draft(), bench.a.positions, keep, draw)

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

    def stop(self) -> None:
        """Stop the preview that is under way, if any: nothing more is sent."""
        if self._run is not None:
            self._run.stop()

    async def _try(
        self,
        draft: Draft,
        positions: Sequence[int],
        keep: Callable[[Trial], None],
        draw: Callable[[], None],
    ) -> Any:
        if self.busy:
            raise ConfigurationError("a preview is under way: wait for it, or stop it")
        self.busy = True
        try:
            pipeline = await asyncio.to_thread(self.bench.pipeline, draft, positions)
            trial = Trial.start(draft, pipeline, positions)
            keep(trial)
            self._run = run = Run(pipeline, name="preview")
            await _followed(run, lambda: keep(trial.now(run)))
            self._trials = [*self._trials[-7:], trial.now(run)]
            return run.frame
        finally:
            self.busy, self._run = False, None
            draw()

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
            Experience.of(trial for trial in self._trials if _alike(trial.draft, draft)),
            width=options.width(most),
            grows=options.concurrency == "auto" and most is None,
            budget=options.budget,
            free=free,
        )
        return self.forecast

    def _walked(self, draft: Draft, rows: int | None) -> Any:
        frame = self.bench.frame
        return self.bench.pipeline(draft, None if rows is None else frame.sample_positions(rows))

    # -- what there is to tell

    def results(self) -> TrialsTable | None:
        """The table of both variants, beside the column of labels where one is chosen; or None."""
        bench = self.bench
        name = bench.labels
        if bench.a is None or name is None or name not in bench.columns:
            return results(bench.a, bench.b)
        cells = cells_at(bench.frame, [name], bench.a.positions)
        return results(bench.a, bench.b, [cell for (cell,) in cells], name)

    def facts(self, source: str, code: Code) -> Facts:
        """What the page says of the frame, prompt and settings; `source` is the frame's name."""
        bench = self.bench
        size = f"{row_count(len(bench.frame))}, {len(bench.columns)} columns"
        return Facts(
            clean(source, 60),
            size,
            lines(bench.prompt, SHOWN),
            tuple(self._settings()),
            tuple(bench.problems()),
            self.forecast,
            self.results(),
            lines(code.above, SHOWN),
            lines(code.cell, SHOWN),
        )

    def _settings(self) -> list[tuple[str, str]]:
        options = dict(self.bench.draft().options)
        params = options.pop("params", {})
        found = [(name, clean(value)) for name, value in params.items()]
        for name, value in options.items():
            shown = money(value) if isinstance(value, Decimal) else clean(value, 400)
            found.append((name.replace("_", " "), shown))
        found.append(("sample rows", f"{self.bench.sample:,}"))
        if self.bench.labels is not None:
            found.append(("labels", clean(self.bench.labels, 60)))
        return [*found, ("result name", clean(self.bench.out, 60))]


async def _followed(run: Any, look: Callable[[], None]) -> None:
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
