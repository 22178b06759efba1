"""An outage is told from bad rows, whatever the order of what happens."""

from __future__ import annotations

import pytest

from ondine_nb.errors import (
    FatalProviderError,
    OverloadedError,
    RateLimitedError,
    ServerError,
    TransientError,
)
from ondine_nb.sending.circuit_breaker import CircuitBreaker
from ondine_nb.sending.retry import Attempts, Backoff


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Judged:
    """A breaker on a clock of the test's own, proven by one success unless said otherwise."""

    def __init__(self, *, proven: bool = True, **given: float) -> None:
        self.clock = Clock()
        self.breaker = CircuitBreaker(Backoff(**given), self.clock)  # type: ignore[arg-type]
        if proven:
            self.breaker.answered(0.1)

    def fail(
        self,
        trial: Attempts | None = None,
        error: TransientError | None = None,
        *,
        took: float = 0.0,
        probing: bool = False,
    ) -> Attempts:
        trial = trial or Attempts()
        self.breaker.sending(trial, probing=probing)
        self.clock.now += took
        self.breaker.failed(trial, error or ServerError("500"), 10)
        return trial

    def fail_rows(self, n: int, error: TransientError | None = None) -> list[Attempts]:
        return [self.fail(error=error) for _ in range(n)]


def test_five_rows_and_two_seconds_without_a_success_are_an_outage() -> None:
    judged = Judged()
    judged.fail_rows(20)
    assert not judged.breaker.open
    judged.clock.now += 2
    judged.fail()
    assert judged.breaker.open


def test_four_rows_are_none_however_long_it_takes() -> None:
    judged = Judged()
    trials = judged.fail_rows(4)
    for _ in range(7):
        judged.clock.now += 60
        for trial in trials:
            judged.fail(trial)
    assert not judged.breaker.open
    assert [trial.counted for trial in trials] == [8] * 4
    assert all(judged.breaker.gives_up(trial) for trial in trials)


def test_three_times_what_is_in_flight_failing_in_a_row_is_an_outage_at_once() -> None:
    judged = Judged()
    judged.fail_rows(29)
    assert not judged.breaker.open
    judged.fail()
    assert judged.breaker.open


def test_time_outs_are_an_outage_as_soon_as_they_come() -> None:
    judged = Judged()
    judged.fail_rows(4)
    judged.fail(took=30)
    assert judged.breaker.open


def test_a_slow_server_is_given_longer() -> None:
    judged = Judged(proven=False)
    judged.breaker.answered(20.0)
    judged.fail_rows(10)
    judged.clock.now += 25
    judged.fail()
    assert not judged.breaker.open


def test_rows_that_failed_twice_while_others_succeeded_are_no_evidence() -> None:
    judged = Judged()
    trials = [Attempts() for _ in range(12)]
    for _ in range(2):
        for trial in trials:
            judged.breaker.sending(trial)
            judged.breaker.answered(0.1)
            judged.fail(trial)
    judged.clock.now += 10
    for trial in trials:
        judged.fail(trial)
    assert not judged.breaker.open


def test_attempts_in_an_outage_count_against_nobody() -> None:
    judged = Judged()
    trials = judged.fail_rows(30)
    before = [trial.counted for trial in trials]
    assert judged.breaker.open
    for _ in range(20):
        for trial in trials:
            judged.fail(trial)
    assert [trial.counted for trial in trials] == before


def test_an_attempt_counts_when_another_request_has_succeeded_since() -> None:
    judged = Judged()
    trial = judged.fail_rows(10)[0]
    for count in range(1, 5):
        judged.breaker.answered(0.1)
        judged.fail(trial)
        assert trial.counted == 1 + count


@pytest.mark.parametrize("succeed", [True, False])
def test_a_429_uses_up_no_attempt_while_others_get_through_or_all_are_told_so(
    succeed: bool,
) -> None:
    judged = Judged()
    limited = RateLimitedError("429")
    trials = judged.fail_rows(10, limited)
    before = [trial.counted for trial in trials]
    for _ in range(20):
        judged.clock.now += 3
        for trial in trials:
            if succeed:
                judged.breaker.answered(0.1)
            judged.fail(trial, limited)
    assert [trial.counted for trial in trials] == before
    assert not judged.breaker.open
    judged.clock.now += 300
    judged.fail(trials[0], limited)
    assert judged.breaker.exhausted is not succeed


def test_probes_come_after_1_2_4_up_to_30_seconds_and_never_before_a_retry_after() -> None:
    judged = Judged()
    trial = judged.fail_rows(30)[0]
    waits = []
    for _ in range(7):
        waits.append(judged.breaker.next_try - judged.clock.now)
        judged.clock.now = judged.breaker.next_try
        judged.fail(trial, probing=True)
    assert waits == [1, 2, 4, 8, 16, 30, 30]
    judged.fail(trial, OverloadedError("529", retry_after=77), probing=True)
    assert judged.breaker.next_try - judged.clock.now == 77


def test_the_first_success_closes_it_and_all_begins_anew() -> None:
    judged = Judged()
    judged.fail_rows(30)
    assert judged.breaker.answered(0.1)
    assert not judged.breaker.answered(0.1)
    judged.fail_rows(29)
    assert not judged.breaker.open


def test_after_its_patience_rows_fail_at_once_and_the_twentieth_ends_the_run() -> None:
    judged = Judged(patience=300)
    in_hand = judged.fail_rows(30)
    judged.clock.now += 299
    judged.breaker.check()
    assert judged.breaker.open
    judged.clock.now += 1
    judged.breaker.check()
    assert (judged.breaker.open, judged.breaker.exhausted) == (False, True)
    assert all(judged.breaker.gives_up(trial) for trial in in_hand)
    for _ in range(19):
        assert judged.breaker.gives_up(judged.fail())
    with pytest.raises(FatalProviderError, match="no answer for 300 s and 20 rows in a row"):
        judged.breaker.gives_up(judged.fail())


def test_before_any_success_every_attempt_counts_and_patience_is_short() -> None:
    judged = Judged(proven=False)
    trials = judged.fail_rows(8)
    for _ in range(7):
        judged.clock.now += 6
        trials = [judged.fail(trial) for trial in trials]
    assert not judged.breaker.open
    assert [trial.counted for trial in trials] == [8] * 8
    judged.clock.now += 45
    further = judged.fail()
    assert judged.breaker.gives_up(further)
