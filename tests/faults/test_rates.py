"""Rate limits: a run is nearly as fast as the server allows, and is hardly ever told to wait.

Measured by the server's own clock, from the first arrival to the last.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.asking import Asker, echoes, texts
from tests.server import MessagesServer

SILENT: dict[str, tuple[str, ...]] = {"only retry-after": ("retry-after",), "nothing told": ()}


def check(
    folder: Path, rows: int, *, ideal: float, per_minute: int, burst: int, **given: Any
) -> None:
    """Run, and hold time and refusals against what they may be; `ideal` in seconds."""
    options = given.pop("options", {})
    limits = {"requests": per_minute}
    with MessagesServer(limits=limits, burst=burst, latency=0.1, **given) as server:
        run = Asker(server, folder).run(texts(rows), **options)
        arrivals = server.requests
    assert list(run.frame["response"]) == echoes(texts(rows))
    refused = len(arrivals) - server.ledger.requests
    assert refused < 0.02 * len(arrivals)
    assert arrivals[-1].at - arrivals[0].at < 1.25 * ideal


def test_600_requests_a_minute_are_used_well_and_not_passed(tmp_path: Path) -> None:
    """As it is measured: 600 of 1,000 rows at once, and the others at ten a second."""
    check(tmp_path, 1_000, ideal=40, per_minute=600, burst=600)


def test_a_small_burst_is_not_passed_either(tmp_path: Path) -> None:
    check(tmp_path, 500, ideal=9.5, per_minute=3_000, burst=25)


@pytest.mark.parametrize("tells", SILENT.values(), ids=SILENT.keys())
def test_where_no_limit_is_told_the_pace_is_learned_from_what_gets_through(
    tmp_path: Path, tells: tuple[str, ...]
) -> None:
    """What is in the air when the limit is met for the first time is refused: so few at once."""
    check(
        tmp_path, 1_500, ideal=28.8, per_minute=3_000, burst=60, tells=tells,
        options={"concurrency": 16},
    )  # fmt: skip


@pytest.mark.parametrize("tells", SILENT.values(), ids=SILENT.keys())
def test_a_long_burst_that_ends_unannounced_is_followed_by_the_right_pace(
    tmp_path: Path, tells: tuple[str, ...]
) -> None:
    options = {"concurrency": 10}
    check(tmp_path, 800, ideal=16, per_minute=1_500, burst=400, tells=tells, options=options)


@pytest.mark.parametrize("tells", [("limits", "retry-after"), ("retry-after",), ()])
def test_fixed_windows_fail_no_row(tmp_path: Path, tells: tuple[str, ...]) -> None:
    """A counter that is full again every five seconds: 100 requests in each."""
    with MessagesServer(limits={"requests": 1_200}, windows=5, tells=tells) as server:
        run = Asker(server, tmp_path).run(texts(350), concurrency=10)
        arrivals = server.requests
    assert list(run.frame["response"]) == echoes(texts(350))
    assert len(arrivals) - 350 < 0.2 * 350
    assert arrivals[-1].at - arrivals[0].at < 1.25 * 20


def test_tokens_a_minute_are_kept_to_as_well(tmp_path: Path) -> None:
    """A request is 100 tokens in and 100 out: 20 a second after the first 200."""

    def usage(_body: Any, _text: str) -> dict[str, int]:
        return {"input_tokens": 100, "output_tokens": 100}

    limits = {"output-tokens": 120_000}
    with MessagesServer(limits=limits, usage=usage, latency=0.1) as server:
        run = Asker(server, tmp_path).run(texts(1_500))
        arrivals = server.requests
    assert list(run.frame["response"]) == echoes(texts(1_500))
    assert len(arrivals) - 1_500 < 0.02 * len(arrivals)
    assert arrivals[-1].at - arrivals[0].at < 1.25 * 15
