"""Rate limits over a real wire: headers are read, retry-after is heeded, and no row fails.

How well a limit is used is judged in virtual time, in tests/simulation/test_rates.py.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.asking import Asker, echoes, texts
from tests.server import MessagesServer

TELLS: dict[str, tuple[str, ...]] = {
    "everything told": ("limits", "retry-after"),
    "only retry-after": ("retry-after",),
    "nothing told": (),
}


def test_limits_in_headers_are_kept_to(tmp_path: Path) -> None:
    """The burst is used at once, and hardly anything is refused although no refusal says more."""
    limits = {"requests": 6_000}
    with MessagesServer(limits=limits, burst=60, latency=0.05, tells=("limits",)) as server:
        run = Asker(server, tmp_path).run(texts(200))
        refused = len(server.requests) - server.ledger.requests
    assert list(run.frame["response"]) == echoes(texts(200))
    assert refused <= 10


def test_tokens_in_headers_are_kept_to_as_well(tmp_path: Path) -> None:
    """A request is 100 tokens out, and the first 600 use up what there is."""

    def usage(_body: Any, _text: str) -> dict[str, int]:
        return {"input_tokens": 100, "output_tokens": 100}

    limits = {"output-tokens": 60_000}
    with MessagesServer(limits=limits, usage=usage, latency=0.05) as server:
        run = Asker(server, tmp_path).run(texts(620))
        refused = len(server.requests) - server.ledger.requests
    assert list(run.frame["response"]) == echoes(texts(620))
    assert refused <= 31


@pytest.mark.parametrize("tells", TELLS.values(), ids=TELLS.keys())
@pytest.mark.parametrize("windows", [None, 2], ids=["token bucket", "fixed window"])
def test_no_row_fails_of_a_limit_whatever_is_told(
    tmp_path: Path, tells: tuple[str, ...], windows: int | None
) -> None:
    burst = None if windows else 40
    limits = {"requests": 3_000}
    with MessagesServer(
        limits=limits, burst=burst, windows=windows, tells=tells, latency=0.02
    ) as server:
        run = Asker(server, tmp_path).run(texts(160), concurrency=16)
        assert len(server.requests) >= server.ledger.requests
    assert list(run.frame["response"]) == echoes(texts(160))


def test_a_retry_after_is_heeded_by_all(tmp_path: Path) -> None:
    """Nothing arrives while the server has asked to wait, but what was on its way."""

    def plan(_body: Any, _attempt: int) -> str | None:
        seen.append(None)
        return "429" if len(seen) == 20 else None

    seen: list[None] = []
    with MessagesServer(plan=plan, retry_after=1.5, latency=0.01) as server:
        run = Asker(server, tmp_path).run(texts(60), concurrency=4)
        arrivals = sorted(request.at for request in server.requests)
    assert run.result.metrics.failed_rows == 0
    gaps = [after - before for before, after in pairwise(arrivals)]
    assert max(gaps) >= 1.4  # by the server's clock: no earlier than asked, however slow we are
