"""A run under a rate limit takes at most a quarter longer than it must, and few are refused.

A table of servers, each in virtual time: how many requests it lets through, how many at once, how
long it takes, what it tells. "Must" is what one would need who knew all of it beforehand.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pytest

from ondine_nb.sending import RateLimiter
from tests.simulation.rate_limits import (
    EVERYTHING,
    FixedWindow,
    Limit,
    Outcome,
    Server,
    TokenBucket,
    ideal,
    run,
)

NOTHING: tuple[str, ...] = ()
RETRY_AFTER = ("retry-after",)
HEADERS = ("limits", "reset")
RESET = ("reset",)
TELLS = (EVERYTHING, RETRY_AFTER, NOTHING)
Phases = tuple[tuple[float, Callable[[], Limit] | None], ...]


def bucket(rate: float, burst: float) -> Phases:
    return ((0.0, lambda: TokenBucket(rate, burst)),)


def window(quota: int, seconds: float) -> Phases:
    return ((0.0, lambda: FixedWindow(quota, seconds)),)


@dataclass(frozen=True)
class Row:
    """A server, a run on it, and what is expected where that isn't 1.25 of the time and 3 %."""

    name: str
    server: Server
    requests: int
    at_once: int
    tells: Sequence[Sequence[str]] = TELLS
    grows: bool = False
    slower: float = 1.25
    refused: float = 0.03


TABLE = (
    Row("600 a minute, all at once", Server(bucket(10, 600)), 1_200, 100,
        tells=(*TELLS, HEADERS, RESET)),
    Row("600 a minute, concurrency auto", Server(bucket(10, 600)), 3_000, 256, grows=True),
    Row("10 a second, 10 at once", Server(bucket(10, 10)), 2_000, 16),
    Row("10 a second, told in whole seconds", Server(bucket(10, 10), whole=True), 2_000, 50),
    Row("50 a second, 60 at once", Server(bucket(50, 60), latency=0.1), 3_000, 16),
    Row("50 a second, 25 at once", Server(bucket(50, 25)), 3_000, 64),
    Row("50 a second, 3 at once", Server(bucket(50, 3)), 3_000, 64),
    Row("25 a second after a long burst", Server(bucket(25, 400), whole=True), 3_000, 30),
    Row("1 a second", Server(bucket(1, 60)), 1_200, 20),
    Row("500 a second, 1,000 in flight", Server(bucket(500, 3_000)), 12_000, 1_000),
    Row("50 a second, 1,000 in flight", Server(bucket(50, 60), latency=2), 6_000, 1_000),
    Row("67 a second, 1,000 in flight", Server(bucket(4_000 / 60, 4_000), latency=2), 6_000, 1_000),
    Row("refusals come a second late", Server(bucket(20, 100), trip=1), 6_000, 100),
    Row("one after another", Server(bucket(8, 8), latency=0.05), 1_000, 1),
    Row("hardly more than the limit", Server(bucket(20, 20), latency=0.4), 2_000, 11),
    Row("window of 5 s", Server(window(100, 5), latency=0.1), 3_000, 10,
        tells=(*TELLS, HEADERS, RESET)),
    Row("window of a minute", Server(window(600, 60)), 9_000, 50, tells=(*TELLS, HEADERS, RESET)),
    Row("window of 1 s", Server(window(10, 1), whole=True), 2_000, 20),
    Row("a limit that begins late",
        Server(((0, None), (20, lambda: TokenBucket(10, 10)))), 4_000, 20),
    Row("a limit that grows to four times as much",
        Server(((0, lambda: TokenBucket(10, 10)), (100, lambda: TokenBucket(40, 40, 0)))),
        6_000, 50),
    Row("a limit that falls to a quarter",
        Server(((0, lambda: TokenBucket(40, 40)), (50, lambda: TokenBucket(10, 10, 0)))),
        4_000, 50),
    Row("a limit that falls a little",
        Server(((0, lambda: TokenBucket(40, 40)), (50, lambda: TokenBucket(32, 32, 0)))),
        6_000, 50),
    # Two that no sender can use in full: it can't tell chance, or jitter, from a limit at once.
    Row("refusals by chance, without a limit", Server(((0, None),), by_chance=0.05, latency=0.2),
        6_000, 50, tells=(RETRY_AFTER, NOTHING), slower=1.6, refused=0.065),
    Row("5 a second, none at once, jitter of 10 ms", Server(bucket(5, 1)), 1_500, 16, slower=1.4),
)  # fmt: skip
CASES = [(row, tuple(tells)) for row in TABLE for tells in row.tells]


def told(tells: Sequence[str]) -> str:
    return " and ".join(tells) or "nothing"


def measured(row: Row, tells: Sequence[str]) -> tuple[Outcome, float]:
    """What became of the run, and how many times the ideal it took."""
    server = replace(row.server, tells=tells)
    outcome = run(server, row.requests, row.at_once, RateLimiter, grows=row.grows)
    return outcome, outcome.seconds / must(row)


@functools.cache
def must(row: Row) -> float:
    """Seconds of the ideal, which needs to be told nothing."""
    return ideal(row.server, row.requests, row.at_once)


@pytest.mark.parametrize(
    ("row", "tells"), CASES, ids=[f"{row.name}, {told(tells)} told" for row, tells in CASES]
)
def test_a_limit_is_used_well_and_hardly_passed(row: Row, tells: Sequence[str]) -> None:
    outcome, times = measured(row, tells)
    assert outcome.answered == row.requests
    assert times <= row.slower
    assert outcome.share <= row.refused


def test_the_ideal_is_what_the_limit_allows_and_no_more() -> None:
    assert ideal(Server(bucket(10, 600)), 1_000, 1_000) == pytest.approx(40.5, abs=0.1)
    assert ideal(Server(window(100, 5)), 350, 1_000) == pytest.approx(15.5, abs=0.1)
    assert ideal(Server(((0, None),), latency=1, trip=0), 100, 10) == pytest.approx(10)


def test_the_same_seed_makes_the_same_run() -> None:
    server = Server(bucket(20, 20), tells=NOTHING)
    first, second, other = (run(server, 300, 20, RateLimiter, seed=seed) for seed in (3, 3, 4))
    assert first == second != other


if __name__ == "__main__":  # python -m tests.simulation.test_rates: the table with its figures
    for row, tells in CASES:
        outcome, times = measured(row, tells)
        print(f"{row.name:44} {told(tells):28} {times:5.2f} {100 * outcome.share:5.1f} %")
