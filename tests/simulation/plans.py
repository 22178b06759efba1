"""What a seed draws: the server, the processes and their runs, and all that goes wrong."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from .batches import CALLS, READINGS, BatchFaults, BatchServer
from .clock import Clock
from .disk import DiskFaults
from .rate_limits import EVERYTHING, FixedWindow, Limit, TokenBucket
from .wire import BODIES, EPOCH, ERRORS, MAX_TOKENS, PRICE, USAGES, Wire

__all__ = ["Habits", "ProcessPlan", "RunPlan", "draw_processes", "draw_wire"]


@dataclass(frozen=True)
class RunPlan:
    """One run of a process, and what is done to it; times are seconds from the process's start.

    `resumes` says that it goes on with a recorded run of an earlier process, where there is one
    that asked the same; `retries`, how often its failed rows are asked again once it is over.
    `stop_at_step` and `stop_again_at_step` are steps between two awaits at which it is stopped.
    """

    values: tuple[int | None, ...]
    start: float = 0.0
    fresh: bool = False
    budget: Decimal | None = None
    concurrency: int | str = 8
    pack: int = 1
    batch: bool = False
    schema: bool = False
    recorded: bool = False
    resumes: bool = False
    retries: int = 0
    stop: float | None = None
    stop_at_request: int | None = None
    stop_at_step: int | None = None
    stop_again: float | None = None
    stop_again_at_step: int | None = None
    pause: tuple[float, float] | None = None
    cancel: float | None = None

    @property
    def undisturbed(self) -> RunPlan:
        """The same, and nobody stops or pauses it."""
        return replace(self, stop=None, stop_again=None, stop_at_step=None, stop_at_request=None,
                       stop_again_at_step=None, pause=None, cancel=None)  # fmt: skip

    @property
    def cut_short(self) -> bool:
        """Whether what is in flight may be cancelled, too."""
        stops = (self.stop, self.stop_again, self.stop_at_step, self.stop_again_at_step,
                 self.stop_at_request, self.cancel)  # fmt: skip
        return self.cancel is not None or sum(stop is not None for stop in stops) > 1


@dataclass(frozen=True)
class ProcessPlan:
    """One process: its runs side by side, and its end; `kill_at` is the step at which it dies."""

    runs: tuple[RunPlan, ...]
    kill_at: int | None = None
    faults: DiskFaults = field(default_factory=DiskFaults)
    jumps: tuple[tuple[float, float], ...] = ()  # when, and by how many seconds the wall clock
    session: Decimal | None = None


@dataclass(frozen=True)
class Habits:
    """What is the same in all of a world: how it asks, and what its user does often."""

    batch: bool
    schema: bool
    fresh: float
    resumes: bool
    packs: float
    jumps: float
    tight: float


def _habits(draw: random.Random) -> Habits:
    batch, resumes = draw.random() < 0.2, draw.random() < 0.35
    return Habits(
        batch=batch,
        schema=draw.random() < 0.25,
        fresh=draw.choice([0.0, 0.2, 0.2, 0.9]),
        resumes=resumes,
        packs=0.0 if batch else draw.choice([0.0, 0.0, 0.5, 1.0]),
        jumps=draw.choice([0.0, 0.2, 0.9]),
        tight=draw.choice([0.0, 0.3, 0.8]) if not resumes else draw.choice([0.0, 0.8, 1.0]),
    )


def _some(draw: random.Random, names: Sequence[str], often: float = 0.4) -> dict[str, float]:
    """Some of what may go wrong, each with its chance."""
    if draw.random() > often:
        return {}
    chosen = draw.sample(list(names), draw.randint(1, min(4, len(names))))
    return {name: draw.choice([0.02, 0.1, 0.2]) for name in chosen}


def draw_wire(draw: random.Random, clock: Clock) -> Wire:
    """The server of a world."""
    prompts = [f"Q {value}" for value in range(60)]
    tells = draw.choice([EVERYTHING, ("limits", "reset"), ("retry-after",), ()])
    outages = []
    if draw.random() < 0.15:
        start = clock() + draw.uniform(0.0, 4.0)
        outages = [(start, start + draw.choice([1.0, 20.0, 400.0]))]
    errors = _some(draw, list(ERRORS))
    if draw.random() < 0.1:
        errors["bug"] = 0.4
    return Wire(
        clock,
        random.Random(draw.random()),
        latency=draw.choice([0.01, 0.5, 5.0]),
        errors=errors,
        bodies=_some(draw, BODIES),
        usages=_some(draw, list(USAGES)),
        garbled=draw.choice([0.0, 0.0, 0.3]),
        broken=draw.choice([0.0, 0.3, 0.7]),
        rejects=frozenset(draw.sample(prompts, draw.choice([0, 0, 0, 3, 40]))),
        forbids=frozenset(draw.sample(prompts, draw.choice([0, 0, 0, 2]))),
        outages=outages,
        limit=_limit(draw),
        tells=tells,
        whole=draw.random() < 0.5,
        batches=BatchServer(_batch_faults(draw), EPOCH),
    )


def _batch_faults(draw: random.Random) -> BatchFaults:
    return BatchFaults(
        calls=_some(draw, list(CALLS), 0.6),
        fails=draw.choice([0.0, 0.0, 0.2]),
        garbled=draw.choice([0.0, 0.0, 0.0, 0.1]),
        readings=_readings(draw),
        seconds=draw.choice([0.5, 30.0, 600.0]),
        skew=draw.choice([0.0, 0.0, -400.0, 400.0]),
    )


def _readings(draw: random.Random) -> tuple[str, ...]:
    """A line that is garbled each time it is read fails its row: only a few are.

    Some servers never give all that they count.
    """
    if draw.random() < 0.15:
        return ("short",) * draw.randint(4, 9)
    found = tuple(draw.choice(READINGS) for _ in range(draw.choice([0, 0, 2, 7])))
    return found if len(found) < 4 else tuple(how.replace("garbled", "short") for how in found)


def _limit(draw: random.Random) -> Limit | None:
    kind = draw.choice(["none", "none", "bucket", "window"])
    if kind == "none":
        return None
    if kind == "bucket":
        return TokenBucket(draw.choice([0.5, 2.0, 20.0]), draw.randint(1, 20))
    return FixedWindow(draw.randint(1, 30), draw.choice([1.0, 10.0]))


def draw_processes(draw: random.Random) -> list[ProcessPlan]:
    """Often the same rows again, as when a cell is run once more."""
    habits, values = _habits(draw), _values(draw)
    processes = []
    for _ in range(draw.choice([2, 2, 3] if habits.resumes else [1, 1, 2, 3])):
        processes.append(_process(draw, habits, values))
        values = values if draw.random() < 0.6 else _values(draw)
    return processes


def _values(draw: random.Random) -> tuple[int | None, ...]:
    rows = draw.choice([1, 5, 15, 15, 40])
    different = draw.randint(1, rows)
    return tuple(draw.randrange(different) if draw.random() > 0.03 else None for _ in range(rows))


def _process(draw: random.Random, habits: Habits, values: tuple[int | None, ...]) -> ProcessPlan:
    beside = draw.random() < 0.35
    runs = [_run(draw, habits, values)]
    if beside:
        runs.append(_run(draw, habits, values if draw.random() < 0.5 else _values(draw)))
    faults = DiskFaults()
    if draw.random() < 0.2:
        numbers = [draw.randint(1, 40) for _ in range(draw.randint(1, 2))]
        faults = DiskFaults(numbers) if draw.random() < 0.6 else DiskFaults((), numbers)
    jumps = [
        (draw.choice([0.0, 0.0, draw.uniform(0, 10)]), draw.choice([-86_400.0, -5.0, 3600.0]))
        for _ in range(draw.choice([1, 2]))
    ]
    killed = draw.random() < (0.7 if habits.resumes else 0.3)
    soon = [100, 200, 600] if habits.resumes else [30, 300, 1500]  # with requests in flight
    return ProcessPlan(
        tuple(runs),
        kill_at=int(draw.choice(soon) * draw.random()) + 1 if killed else None,
        faults=faults,
        jumps=tuple(jumps) if draw.random() < habits.jumps else (),
        session=_budget(draw) if draw.random() < (0.5 if beside else 0.1) else None,
    )


def _budget(draw: random.Random) -> Decimal:
    worst = PRICE.ceiling(24, MAX_TOKENS)
    return (worst * Decimal(draw.choice([1.2, 3.5, 3.5, 12.0, 40.0]))).quantize(Decimal("1e-7"))


def _run(draw: random.Random, habits: Habits, values: tuple[int | None, ...]) -> RunPlan:
    stop = draw.uniform(0, 8) if draw.random() < 0.15 else None
    step = draw.randint(30, 300) if draw.random() < 0.2 else None
    again = stop + draw.uniform(0, 2) if stop is not None and draw.random() < 0.5 else None
    schema = habits.schema and draw.random() < 0.7
    packs = not schema and draw.random() < habits.packs
    return RunPlan(
        values,
        start=draw.choice([0.0, 0.0, draw.uniform(0, 3)]),
        fresh=draw.random() < habits.fresh,
        budget=_budget(draw) if draw.random() < habits.tight else None,
        concurrency=draw.choice([1, 3, 20, "auto"]),
        pack=draw.choice([3, 10]) if packs else 1,
        batch=habits.batch,
        schema=schema,
        recorded=habits.resumes,
        resumes=habits.resumes and draw.random() < 0.7,
        retries=draw.choice([1, 2]) if draw.random() < 0.15 else 0,
        stop=stop,
        stop_at_request=draw.randint(1, 12) if draw.random() < 0.1 else None,
        stop_at_step=step,
        stop_again=again,
        stop_again_at_step=step + draw.randint(1, 30) if step and draw.random() < 0.5 else None,
        pause=(draw.uniform(0, 3), draw.uniform(0, 50)) if draw.random() < 0.1 else None,
        cancel=draw.uniform(0, 5) if draw.random() < 0.05 else None,
    )
