"""How fast a run goes and spends: the rate of the last seconds, and the trends."""

from __future__ import annotations

from decimal import Decimal

import pytest

from ondine_nb.notebook.card.throughput import POINTS, History
from tests.notebook.shots import PausableRun, context


def paces(run: PausableRun, rows: list[tuple[float, int, int]]) -> list[float | None]:
    """The rate after each (seconds, rows answered, rows from the journal)."""
    history, rates = History(), []
    for now, answered, journal in rows:
        run.context.processed_rows, run.context.journal_rows = answered + journal, journal
        rates.append(history.pace(run, now).rate)
    return rates


def fresh() -> PausableRun:
    return PausableRun(context=context(1, total_rows=10_000))


def test_there_is_no_rate_before_there_is_data() -> None:
    assert paces(fresh(), [(0, 0, 0), (0.5, 10, 0), (3, 0, 0)]) == [None, None, None]


def test_the_rate_is_that_of_the_last_seconds() -> None:
    slow = [(float(at), at, 0) for at in range(60)]
    fast = [(60.0 + at, 60 + 10 * at, 0) for at in range(30)]
    assert paces(fresh(), slow)[-1] == pytest.approx(1.0)
    assert paces(fresh(), slow + fast)[-1] == pytest.approx(10.0)


def test_rows_from_the_journal_do_not_make_it_look_fast() -> None:
    assert paces(fresh(), [(0, 0, 0), (1, 0, 5000), (2, 4, 5000)])[1:] == [5000, 2]


def test_a_slow_model_is_measured_over_enough_rows() -> None:
    rates = paces(fresh(), [(float(at), at // 10, 0) for at in range(110)])
    assert rates[-1] == pytest.approx(0.1, rel=0.15)


def test_a_pause_is_not_a_slow_run() -> None:
    run, history = fresh(), History()
    history.pace(run, 0)
    run.context.processed_rows = 100
    assert history.pace(run, 10).rate == 10
    run.state = "paused"
    assert history.pace(run, 11).rate is None
    run.state = "running"
    assert history.pace(run, 1000).rate is None


def test_the_trend_has_a_point_for_every_five_seconds() -> None:
    run, history = fresh(), History()
    for tick in range(1300):
        run.context.processed_rows = tick
        pace = history.pace(run, tick / 10)
    assert len(pace.trend) == 24
    assert pace.trend[-1] == pytest.approx(10, rel=0.05)


def test_the_trend_of_spending_is_in_dollars_a_minute() -> None:
    run, history = fresh(), History()
    for tick in range(300):
        run.context.processed_rows, run.context.accumulated_cost = tick, Decimal(tick) / 1000
        pace = history.pace(run, tick / 10)
    assert pace.spending[-1] == pytest.approx(0.6)


def test_the_whole_run_is_kept_in_few_points_however_long_it_is() -> None:
    run, history = fresh(), History()
    for tick in range(20_000):
        run.context.processed_rows = 2 * tick
        pace = history.pace(run, float(tick))
    assert POINTS / 2 <= len(pace.whole) <= POINTS
    assert pace.whole == pytest.approx([2.0] * len(pace.whole))
    assert history.last == pace
