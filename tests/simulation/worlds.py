"""Worlds that are drawn from a seed: what is asked, by which processes, and all that goes wrong.

A world is lived through in virtual time with the real run loop, sender, limits, budget, batches and
journal; the wire and the disk are simulated. What must never be is looked for at each request and
at each end (`promises.py`), and raised as `Breach`. The same seed gives the same world and the same
steps.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import replace
from typing import Any
from unittest import mock

import pandas as pd

from ondine_nb import Pipeline
from ondine_nb.errors import OndineError
from ondine_nb.orchestration import StateManager
from ondine_nb.pipeline.run import Run
from ondine_nb.providers import BatchLimits
from ondine_nb.sending import SessionBudget
from ondine_nb.stages.batch import BatchPolicy

from .breach import Breach, Killed, demand
from .clock import Clock, Deadlock, VirtualLoop
from .disk import ASKER, Disk, Records, SimulatedJournal
from .loop import ProcessLoop
from .plans import ProcessPlan, RunPlan, draw_processes, draw_wire
from .promises import Promises
from .wire import EPOCH, MAX_TOKENS, SimulatedProvider

__all__ = ["World"]

_DAYS = 86_400.0


class _Wall:
    """The time of day, which somebody sets."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self.offset = clock, EPOCH

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
        self.wire = draw_wire(draw, self.clock)
        self.processes = draw_processes(draw)
        self._names = random.Random(draw.random())
        self.promises = Promises(self.wire, self.disk, self._say)
        self.wire.before_send = self.promises.before_send
        self._resumable: list[tuple[str, RunPlan]] = []
        self._session: SessionBudget | None = None
        self.steps = 0

    def live(self) -> None:
        """Live through it: its processes one after another, and a calm one that finds it all."""
        with self._virtual():
            for process in self.processes:
                self._live(process)
            self.wire.calm()
            kinds = sorted({(run.batch, run.schema) for process in self.processes
                            for run in process.runs})  # fmt: skip
            self._live(ProcessPlan(tuple(self._whole(*kind) for kind in kinds)), last=True)
        self.disk.close()

    def _whole(self, batch: bool, schema: bool) -> RunPlan:
        """All that was ever asked in this way."""
        runs = [run for process in self.processes for run in process.runs]
        alike = [run for run in runs if (run.batch, run.schema) == (batch, schema)]
        values = {value for run in alike for value in run.values}
        asked = tuple(sorted(values, key=str))
        return RunPlan(asked, concurrency=20, batch=batch, schema=schema)

    @contextlib.contextmanager
    def _virtual(self) -> Iterator[None]:
        before = random.getstate()
        random.seed(self.seed)  # the back-off's jitter
        with contextlib.ExitStack() as stack:
            for name, value in {
                "time.time": self.wall,
                "time.monotonic": self.clock,
                "ondine_nb.orchestration.window.perf_counter": self.clock,
                # A view's tick is nobody's promise, and hours of waiting would be made of it.
                "ondine_nb.orchestration.executors.base._TICK_SECONDS": 5.0,
                "ondine_nb.stages.batch.job._SECONDS_OF_A_MESSAGE": 600.0,
                "ondine_nb.stages.batch.plan.PACE": BatchPolicy(grace=2.0, patience=5.0),
                "tests.simulation.batches.SimulatedBatches.limits": BatchLimits(
                    6 if self.seed % 3 else 100, 200_000_000
                ),
                "tests.simulation.batches.SimulatedBatches.tells": self.seed % 2 == 1,
                "ondine_nb.stages.batch.plan.secrets.token_hex": self._token,
                "ondine_nb.pipeline.pipeline.state_manager": lambda _: StateManager(
                    Records(self.disk)
                ),
                "ondine_nb.pipeline.pipeline.run_in_thread": self._at_once,
            }.items():
                stack.enter_context(mock.patch(name, value))
            try:
                yield
            finally:
                random.setstate(before)

    def _token(self, size: int) -> str:
        return self._names.randbytes(size).hex()

    def _at_once(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """What another thread's loop would do while this one waits for it."""
        outer = asyncio.get_running_loop()
        asyncio._set_running_loop(None)
        loop = VirtualLoop(self.clock)
        try:
            return loop.run_until_complete(work())
        finally:
            loop.close()
            asyncio._set_running_loop(outer)

    def _say(self, *words: object) -> None:
        self.log.append(f"{self.clock():10.2f}  {' '.join(map(str, words))}")

    # -- a process

    def _live(self, process: ProcessPlan, last: bool = False) -> None:
        self._say("a process begins:", process)
        loop = ProcessLoop(self.clock, process.kill_at)
        self.disk.begin(process.faults)
        journal = SimulatedJournal(self.disk)
        self.wire.under_way.clear()
        self._session = None if process.session is None else SessionBudget(process.session)
        self.promises.begin(self._session)
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
            self.promises.check_shown()
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
        plans = self.promises.plans
        self._resumable = [
            (run.id, plans[run.id])
            for run in self.promises.running
            if plans[run.id].recorded and not run.is_retry
        ]
        if breach := self.wire.breach or self.disk.lost_promise:
            raise breach
        if not killed:
            demand(not loop.problems, "nobody heard of:", loop.problems[:3])
            self.promises.check_ends(process, last=last)

    async def _main(
        self, process: ProcessPlan, journal: SimulatedJournal, loop: ProcessLoop
    ) -> None:
        for at, seconds in process.jumps:
            loop.call_later(at, self.wall.jump, seconds) if at else self.wall.jump(seconds)
        try:
            async with asyncio.timeout(_DAYS):
                await asyncio.gather(*(self._run(plan, journal, loop) for plan in process.runs))
        except TimeoutError as error:
            raise Breach("a run goes on after a day") from error

    async def _run(self, plan: RunPlan, journal: SimulatedJournal, loop: ProcessLoop) -> None:
        await asyncio.sleep(plan.start)
        provider = SimulatedProvider(self.wire)
        ASKER.set(provider)
        run = self._resumed(plan, provider, journal) or self._new(plan, provider, journal)
        await self._through(run, self.promises.plans[run.id], loop)
        for _ in range(plan.retries):
            if not run.counts.failed or run.context.control.draining:
                break
            again = replace(self.promises.plans[run.id].undisturbed, retries=0)
            run = run.retry_failed()
            provider.run = run.id
            self.promises.add(run, again)
            await self._through(run, again, loop)
        for each in provider.family:
            demand(each.opened == each.closed, "opened", each.opened, "times, closed", each.closed)

    def _new(self, plan: RunPlan, provider: SimulatedProvider, journal: SimulatedJournal) -> Run:
        pipeline = Pipeline(
            _frame(plan.values),
            "Q {x}",
            provider=provider,
            journal=journal,
            fresh=plan.fresh,
            cache="off",
            max_tokens=MAX_TOKENS,
            concurrency=plan.concurrency,
            pack=plan.pack,
            batch=plan.batch,
            schema="said: str" if plan.schema else None,
            budget=plan.budget,
        )
        pipeline.recorded = plan.recorded
        if self._session is not None:
            pipeline.within(self._session)
        run = Run(pipeline)
        provider.run = run.id
        self.promises.add(run, plan)
        return run

    def _resumed(
        self, plan: RunPlan, provider: SimulatedProvider, journal: SimulatedJournal
    ) -> Run | None:
        """A run of the last process, where one was recorded; nobody goes on with it twice."""
        if not plan.resumes or not self._resumable:
            return None
        earlier, its_plan = self._resumable.pop(0)
        data = _frame(its_plan.values)
        provider.run = earlier
        try:
            run = Pipeline.resume(
                earlier, data, journal=journal, provider=provider, session=self._session
            )
        except OndineError as error:  # it was killed before it was recorded, or the disk fails
            self._say("can't be resumed:", error)
            return None
        self._say("run", run.id, "goes on")
        self.disk.goes_on(run.id)
        did = replace(its_plan.undisturbed, resumes=True, start=0.0)
        self.promises.add(run, did)
        return run

    async def _through(self, run: Run, plan: RunPlan, loop: ProcessLoop) -> None:
        self._do(plan, run, loop)
        over: asyncio.Future[None] = loop.create_future()
        run.when_over(lambda _: over.done() or over.set_result(None))
        if not run.is_retry:
            run.start()
        waiting = asyncio.ensure_future(run.execute_async())
        if plan.cancel is not None:
            loop.call_later(plan.cancel, waiting.cancel)
        try:
            await waiting
        except (OndineError, asyncio.CancelledError) as error:
            self._say("run", run.id, "ends by", repr(error)[:200])
        await over

    def _do(self, plan: RunPlan, run: Run, loop: ProcessLoop) -> None:
        for at in (plan.stop, plan.stop_again):
            if at is not None:
                loop.call_later(at, run.stop)
        for step in (plan.stop_at_step, plan.stop_again_at_step):
            if step is not None:
                loop.at_step(loop.steps + step, run.stop)
        if plan.pause is not None:
            at, seconds = plan.pause
            loop.call_later(at, run.pause)
            loop.call_later(at + seconds, run.resume)


def _frame(values: Sequence[int | None]) -> pd.DataFrame:
    return pd.DataFrame({"x": pd.array(list(values), dtype="Int64")})
