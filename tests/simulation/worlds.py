"""Worlds that are drawn from a seed: what is asked, by which processes, and all that goes wrong.

A world is lived through in virtual time with the real run loop, sender, limits, budget and journal;
the wire and the disk are simulated. What must never be is looked for at each request and at each
end, and raised as `Breach`. The same seed gives the same world and the same steps.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from unittest import mock

import pandas as pd

from ondine_nb import Pipeline
from ondine_nb.errors import OndineError
from ondine_nb.models import Prompt
from ondine_nb.pipeline.run import Run
from ondine_nb.sending import SessionBudget

from .breach import Breach, Killed, demand
from .clock import Clock, Deadlock
from .disk import Disk, DiskFaults, SimulatedJournal
from .loop import ProcessLoop
from .rate_limits import EVERYTHING, FixedWindow, Limit, TokenBucket
from .wire import (
    BODIES,
    ERRORS,
    MAX_TOKENS,
    PRICE,
    USAGES,
    SimulatedProvider,
    Wire,
    text_for,
    total,
)

__all__ = ["ProcessPlan", "RunPlan", "World"]

_DAYS = 86_400.0
_EPOCH = 1_790_000_000.0
_PERHAPS = frozenset(name for name, billed in ERRORS.items() if billed == "perhaps")


@dataclass(frozen=True)
class RunPlan:
    """One run of a process, and what is done to it; times are seconds from the process's start."""

    values: tuple[int | None, ...]
    start: float = 0.0
    fresh: bool = False
    budget: Decimal | None = None
    concurrency: int | str = 8
    pack: int = 1
    stop: float | None = None
    stop_at_request: int | None = None
    stop_again: float | None = None
    pause: tuple[float, float] | None = None
    cancel: float | None = None


@dataclass(frozen=True)
class ProcessPlan:
    """One process: its runs side by side, and its end; `kill_at` is the step at which it dies."""

    runs: tuple[RunPlan, ...]
    kill_at: int | None = None
    faults: DiskFaults = field(default_factory=DiskFaults)
    jumps: tuple[tuple[float, float], ...] = ()  # when, and by how many seconds the wall clock
    session: Decimal | None = None


class _Wall:
    """The time of day, which somebody sets."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self.offset = clock, _EPOCH

    def __call__(self) -> float:
        return self._clock() + self.offset

    def jump(self, seconds: float) -> None:
        self.offset += seconds


class World:
    """All that one seed decides. `live` lives through it, or raises `Breach`."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.log: list[str] = []
        draw = random.Random(seed)
        self.clock = Clock(draw.choice([0.0, 1000.0, 5e6]))
        self.wall = _Wall(self.clock)
        self.disk = Disk(self.wall, random.Random(draw.random()))
        self.disk.latency = draw.choice([0.0005, 0.01, 0.3])
        self.wire = _wire(draw, self.clock)
        self.processes = _processes(draw)
        self.wire.before_send = self._before_send
        self._plans: dict[str, RunPlan] = {}
        self._running: list[Run] = []
        self._session: SessionBudget | None = None
        self.steps = 0

    def live(self) -> None:
        """Live through it: its processes one after another, and a calm one that finds it all."""
        with self._virtual():
            for process in self.processes:
                self._live(process)
            self.wire.calm()
            values = {value for process in self.processes for run in process.runs
                      for value in run.values}  # fmt: skip
            whole = RunPlan(tuple(sorted(values, key=str)), concurrency=20)
            self._live(ProcessPlan((whole,)), last=True)
        self.disk.close()

    @contextlib.contextmanager
    def _virtual(self) -> Iterator[None]:
        before = random.getstate()
        random.seed(self.seed)  # the back-off's jitter
        window = "ondine_nb.orchestration.window.perf_counter"
        tick = "ondine_nb.orchestration.executors.base._TICK_SECONDS"
        # A view's tick is nobody's promise, and hours of waiting would be made of it.
        with (
            mock.patch("time.time", self.wall),
            mock.patch(window, self.clock),
            mock.patch(tick, 5.0),
        ):
            try:
                yield
            finally:
                random.setstate(before)

    def _say(self, *words: object) -> None:
        self.log.append(f"{self.clock():10.2f}  {' '.join(map(str, words))}")

    # -- a process

    def _live(self, process: ProcessPlan, last: bool = False) -> None:
        self._say("a process begins:", process)
        loop = ProcessLoop(self.clock, process.kill_at)
        self.disk.transactions, self.disk.faults = 0, process.faults
        journal = SimulatedJournal(self.disk)
        self._running.clear()
        self.wire.under_way.clear()
        latest = dict(self.disk.latest)
        self._session = None if process.session is None else SessionBudget(process.session)
        main = self._main(process, journal, loop)
        asyncio.set_event_loop(loop)
        tasks: set[Any] = set()
        killed = False
        try:
            loop.run_until_complete(main)
        except Killed:
            killed = True
            tasks = asyncio.all_tasks(loop)
            self._say("killed at step", loop.steps)
            for run in self._running:
                self._check_shown(run)
            journal.closed = True
            self.disk.crash()
        except Deadlock as error:
            raise Breach(f"the process never ends: {error}") from error
        finally:
            self.steps += loop.steps
            asyncio.set_event_loop(None)
            if not killed:
                journal.close()
            loop.bury()
            tasks.clear()
        if breach := self.wire.breach or self.disk.lost_promise:
            raise breach
        if not killed:
            demand(not loop.problems, "nobody heard of:", loop.problems[:3])
            for run in self._running:
                self._check_end(run, process, latest, last=last)

    async def _main(
        self, process: ProcessPlan, journal: SimulatedJournal, loop: ProcessLoop
    ) -> None:
        for at, seconds in process.jumps:
            loop.call_later(at, self.wall.jump, seconds)
        try:
            async with asyncio.timeout(_DAYS):
                await asyncio.gather(*(self._run(plan, journal, loop) for plan in process.runs))
        except TimeoutError as error:
            raise Breach("a run goes on after a day") from error

    async def _run(self, plan: RunPlan, journal: SimulatedJournal, loop: ProcessLoop) -> None:
        await asyncio.sleep(plan.start)
        provider = SimulatedProvider(self.wire)
        pipeline = Pipeline(
            pd.DataFrame({"x": pd.array(list(plan.values), dtype="Int64")}),
            "Q {x}",
            provider=provider,
            journal=journal,
            fresh=plan.fresh,
            cache="off",
            max_tokens=MAX_TOKENS,
            concurrency=plan.concurrency,
            pack=plan.pack,
            budget=plan.budget,
        )
        pipeline.recorded, pipeline.clock = False, self.clock
        if self._session is not None:
            pipeline.within(self._session)
        run = Run(pipeline)
        provider.run = run.id
        self._plans[run.id] = plan
        self._running.append(run)
        self._do(plan, run, loop)
        over: asyncio.Future[None] = loop.create_future()
        run.when_over(lambda _: over.done() or over.set_result(None))
        run.start()
        waiting = asyncio.ensure_future(run.execute_async())
        if plan.cancel is not None:
            loop.call_later(plan.cancel, waiting.cancel)
        try:
            await waiting
        except (OndineError, asyncio.CancelledError) as error:
            self._say("run", run.id, "ends by", repr(error)[:200])
        await over
        for each in provider.family:
            demand(each.opened == each.closed <= 1, "opened", each.opened, "times, closed",
                   each.closed)  # fmt: skip

    def _do(self, plan: RunPlan, run: Run, loop: ProcessLoop) -> None:
        for at in (plan.stop, plan.stop_again):
            if at is not None:
                loop.call_later(at, run.stop)
        if plan.pause is not None:
            at, seconds = plan.pause
            loop.call_later(at, run.pause)
            loop.call_later(at + seconds, run.resume)

    # -- what must never be

    def _before_send(self, provider: SimulatedProvider, prompts: Sequence[str]) -> set[bytes]:
        self._say("run", provider.run, "sends", prompts)
        run = next(run for run in self._running if run.id == provider.run)
        for prompt in prompts:
            keys = run.plan.asker.lookup.keys(Prompt(prompt))
            answered = {who for key in keys for who in self.disk.answered.get(key, ())}
            if self._plans[run.id].fresh:
                demand(run.id not in answered, prompt, "is answered and paid again by a fresh run")
            else:
                demand(not answered, prompt, "is acknowledged and paid again")
        demand(not run.context.control.stopping, prompts, "are sent after a stop")
        for each in self._running:
            self._check_shown(each)
        if len(self._sent(run)) == self._plans[run.id].stop_at_request:
            run.stop()
        return {key for prompt in prompts for key in run.plan.asker.lookup.keys(Prompt(prompt))}

    def _check_shown(self, run: Run) -> None:
        """What a run shows at any moment."""
        budget, cost = run.plan.budget, run.context.get_costs().total_cost
        assert cost is not None
        durable = self.disk.cost_of.get(run.id, Decimal(0))
        demand(cost <= durable, "cost", cost, "is counted, and the journal has", durable)
        sent = self._sent(run)
        billed = total(each.billed for each in sent)
        held = budget.spent + budget.possibly_billed + budget.reserved
        demand(billed <= held, "billed", billed, "and held", held)
        if (ceiling := self._plans[run.id].budget) is not None:
            demand(held <= ceiling, "held", held, "of a budget of", ceiling)
        if (session := self._session) is not None and session.ceiling is not None:
            all_billed = total(each.billed for run in self._running for each in self._sent(run))
            demand(all_billed <= session.ceiling, all_billed, "billed of", session.ceiling)

    def _sent(self, run: Run) -> list[Any]:
        return [each for each in self.wire.ledger if each.run == run.id]

    def _check_end(
        self, run: Run, process: ProcessPlan, latest: dict[bytes, bytes], *, last: bool
    ) -> None:
        plan = self._plans[run.id]
        self._say("run", run.id, run.state, run.counts, run.cost, run.message)
        self._check_shown(run)
        self._check_figures(run, process)
        self._check_rows(run, plan, process, latest)
        demand(run.state in ("done", "stopped", "failed"), "it ended as", run.state)
        if last:
            demand(run.error is None, "a calm run ended by", repr(run.error))
            demand(run.counts.not_run == 0, "rows aren't run:", run.counts)

    def _check_figures(self, run: Run, process: ProcessPlan) -> None:
        """Its figures are those of the ledger."""
        sent, budget, metrics = self._sent(run), run.plan.budget, run.context.metrics
        demand(budget.reserved == 0 and budget.outstanding == 0, "held after the end:",
               budget.reserved, budget.outstanding)  # fmt: skip
        demand(metrics.in_flight == 0, "in flight after the end:", metrics.in_flight)
        demand(metrics.requests == len(sent), metrics.requests, "requests are", len(sent))
        demand(metrics.possibly_billed == budget.possibly_billed, "possibly billed is shown as",
               metrics.possibly_billed, "and kept as", budget.possibly_billed)  # fmt: skip
        cost = run.cost
        assert cost is not None
        demand(cost == budget.spent, "cost", cost, "and spent", budget.spent)
        known = total(each.shown for each in sent if each.shown is not None)
        lost = total(each.worst for each in sent if each.shown is None and _charged(each))
        plan = self._plans[run.id]
        cut_short = plan.stop_again is not None or process.faults.before or process.faults.after
        if cut_short or plan.cancel is not None:
            demand(cost <= known, "cost", cost, "and known", known)
            demand(cost + metrics.possibly_billed >= known, "less is shown than was paid")
        else:
            demand(cost == known, "cost", cost, "and the ledger has", known)
            demand(metrics.possibly_billed == lost, "possibly billed", metrics.possibly_billed,
                   "and the ledger has", lost)  # fmt: skip
            bodies = sum(entry.run == run.id for entry in self.disk.entries)
            came = sum(each.bodies for each in sent)
            demand(bodies == came, came, "bodies came, and the journal has", bodies)
            rows = total(row.cost for row in run.plan.rowset.rows if row is not None)
            demand(rows == cost, "the rows cost", rows, "and the run", cost)

    def _check_rows(
        self, run: Run, plan: RunPlan, process: ProcessPlan, latest: dict[bytes, bytes]
    ) -> None:
        """Each row has one outcome, and its own answer."""
        rows = list(run.plan.rowset.rows)
        demand(len(rows) == len(plan.values), len(rows), "rows of", len(plan.values))
        found = Counter("not_run" if row is None else row.status for row in rows)
        shown = run.counts
        told = {name: getattr(shown, name) for name in _STATUSES}
        told["answered"] -= shown.journal  # those are among them
        demand(+Counter(told) == found, shown, "and the rows say", found)
        column = run.frame["response"].to_list()
        ended = run.error is not None or run.context.control.stopping
        for row, value, cell in zip(rows, plan.values, column, strict=True):
            status = "not_run" if row is None else row.status
            if status in ("answered", "journal"):
                self._check_answer(run, plan, f"Q {value}", cell, latest)
                demand(value is not None, "an empty row is answered")
            else:
                demand(pd.isna(cell), f"a row is {status} and has the answer", cell)
                demand(status != "failed" or row.failure is not None, "failed by nothing")
                demand(status != "not_run" or ended, "a row was forgotten:", value)
                demand((status == "skipped") == (value is None and status != "not_run"),
                       status, value)  # fmt: skip

    def _check_answer(
        self, run: Run, plan: RunPlan, prompt: str, cell: Any, latest: dict[bytes, bytes]
    ) -> None:
        number = int(str(cell).rpartition("#")[2])
        demand(cell == text_for(prompt, number), prompt, "has the answer", repr(cell))
        sent = self.wire.ledger[number]
        demand(prompt in sent.prompts, prompt, "wasn't asked by request", number)
        keys = run.plan.asker.lookup.keys(Prompt(prompt))
        beside = {each.id for each in self._running}
        if plan.fresh:
            demand(sent.run == run.id, "a fresh run gives an earlier answer to", prompt)
        elif sent.run not in beside:
            now = next((latest[key] for key in keys if key in latest), b"")
            demand(cell.encode() in now, prompt, "has", cell, "and the journal's is", now)
        bodies = [entry.body for entry in self.disk.entries if entry.key in keys]
        demand(any(cell.encode() in body for body in bodies), cell, "is in no journal")


_STATUSES = ("answered", "journal", "failed", "skipped", "not_run")


def _charged(sent: Any) -> bool:
    """Whether a request without a known cost counts as possibly billed."""
    return sent.billed > 0 or sent.kind in _PERHAPS


# -- what a seed draws


def _some(draw: random.Random, names: Sequence[str], often: float = 0.4) -> dict[str, float]:
    """Some of what may go wrong, each with its chance."""
    if draw.random() > often:
        return {}
    chosen = draw.sample(list(names), draw.randint(1, min(4, len(names))))
    return {name: draw.choice([0.02, 0.1, 0.2]) for name in chosen}


def _wire(draw: random.Random, clock: Clock) -> Wire:
    prompts = [f"Q {value}" for value in range(60)]
    tells = draw.choice([EVERYTHING, ("limits", "reset"), ("retry-after",), ()])
    outages = []
    if draw.random() < 0.15:
        start = clock() + draw.uniform(0.0, 4.0)
        outages = [(start, start + draw.choice([1.0, 20.0, 400.0]))]
    return Wire(
        clock,
        random.Random(draw.random()),
        latency=draw.choice([0.01, 0.5, 5.0]),
        errors=_some(draw, list(ERRORS)),
        bodies=_some(draw, BODIES),
        usages=_some(draw, list(USAGES)),
        garbled=draw.choice([0.0, 0.0, 0.3]),
        rejects=frozenset(draw.sample(prompts, draw.choice([0, 0, 0, 3, 40]))),
        forbids=frozenset(draw.sample(prompts, draw.choice([0, 0, 0, 2]))),
        outages=outages,
        limit=_limit(draw),
        tells=tells,
        whole=draw.random() < 0.5,
    )


def _limit(draw: random.Random) -> Limit | None:
    kind = draw.choice(["none", "none", "bucket", "window"])
    if kind == "none":
        return None
    if kind == "bucket":
        return TokenBucket(draw.choice([0.5, 2.0, 20.0]), draw.randint(1, 20))
    return FixedWindow(draw.randint(1, 30), draw.choice([1.0, 10.0]))


def _processes(draw: random.Random) -> list[ProcessPlan]:
    """Often the same rows again, as when a cell is run once more."""
    values = _values(draw)
    processes = []
    for _ in range(draw.choice([1, 1, 2, 3])):
        processes.append(_process(draw, values))
        values = values if draw.random() < 0.6 else _values(draw)
    return processes


def _values(draw: random.Random) -> tuple[int | None, ...]:
    rows = draw.choice([1, 5, 15, 15, 40])
    different = draw.randint(1, rows)
    return tuple(draw.randrange(different) if draw.random() > 0.03 else None for _ in range(rows))


def _process(draw: random.Random, values: tuple[int | None, ...]) -> ProcessPlan:
    beside = draw.random() < 0.35
    runs = [_run(draw, values)]
    if beside:
        runs.append(_run(draw, values if draw.random() < 0.5 else _values(draw)))
    faults = DiskFaults()
    if draw.random() < 0.2:
        numbers = [draw.randint(1, 40) for _ in range(draw.randint(1, 2))]
        faults = DiskFaults(numbers) if draw.random() < 0.6 else DiskFaults((), numbers)
    jumps = [
        (draw.choice([0.0, draw.uniform(0, 10)]), draw.choice([-86_400.0, -5.0, 3600.0]))
        for _ in range(2)
    ]
    return ProcessPlan(
        tuple(runs),
        kill_at=int(draw.choice([30, 300, 1500]) * draw.random()) + 1
        if draw.random() < 0.35
        else None,
        faults=faults,
        jumps=tuple(jumps) if draw.random() < 0.3 else (),
        session=_budget(draw) if beside and draw.random() < 0.3 else None,
    )


def _budget(draw: random.Random) -> Decimal:
    worst = PRICE.ceiling(24, MAX_TOKENS)
    return (worst * Decimal(draw.choice([1.2, 3.5, 12.0, 40.0]))).quantize(Decimal("1e-7"))


def _run(draw: random.Random, values: tuple[int | None, ...]) -> RunPlan:
    stop = draw.uniform(0, 8) if draw.random() < 0.15 else None
    again = stop + draw.uniform(0, 2) if stop is not None and draw.random() < 0.5 else None
    return RunPlan(
        values,
        start=draw.choice([0.0, 0.0, draw.uniform(0, 3)]),
        fresh=draw.random() < 0.3,
        budget=_budget(draw) if draw.random() < 0.35 else None,
        concurrency=draw.choice([1, 3, 20, "auto"]),
        pack=draw.choice([1, 1, 1, 3, 10]),
        stop=stop,
        stop_at_request=draw.randint(1, 12) if draw.random() < 0.1 else None,
        stop_again=again,
        pause=(draw.uniform(0, 3), draw.uniform(0, 50)) if draw.random() < 0.1 else None,
        cancel=draw.uniform(0, 5) if draw.random() < 0.05 else None,
    )
