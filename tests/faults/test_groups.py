"""A run over groups, measured: 10,000 rows in 200 groups, one row more, and killed on its way."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pandas as pd

from tests.asking import HAIKU, Asker
from tests.faults.processes import ends_well, killed_and_let_through, start
from tests.grouping import PROMPT, SCHEMA, answered, is_merge, reviews, rows_in
from tests.server import MessagesServer

SIZES = {"big": 4000} | {f"b{at:03}": 30 for at in range(198)} | {"rest": 60}
GIVEN = {"by": "brand", "schema": SCHEMA, "group_tokens": 500}
SCRIPT = f"""
import sys
import pandas as pd
from ondine_nb import Pipeline

url, rows, out = sys.argv[1:]
result = Pipeline(
    pd.read_csv(rows), {PROMPT!r}, base_url=url, concurrency=16, **{GIVEN!r}
).execute()
result.data.to_json(out, orient="records")
"""


def test_the_requests_levels_and_cost_of_10_000_rows_in_200_groups_are_as_told(home: Path) -> None:
    frame = reviews(SIZES)
    assert (len(frame), frame["brand"].nunique()) == (10_000, 200)
    with MessagesServer(answer=answered) as server:
        asker = Asker(server, home)
        estimator = asker.pipeline(frame, PROMPT, **GIVEN).estimator()
        told = asyncio.run(estimator.estimate())
        run = asker.run(frame, PROMPT, **GIVEN)
        assert run.error is None
        assert list(run.frame["n"]) == list(SIZES.values())  # each row counted once
        assert server.ledger.requests == told.requests
        groups = run.context.metrics.groups
        assert groups is not None
        assert groups.levels == estimator.tally.levels == 3
        assert told.low is not None
        assert told.high is not None
        assert run.cost is not None
        assert told.low <= run.cost == server.ledger.cost(*HAIKU) <= told.high
        leaves = [it.prompt for it in server.ledger.entries if not is_merge(it.prompt)]
        shown = [text for prompt in leaves for text in rows_in(prompt)]
        assert sorted(shown) == sorted(frame["text"])  # each row in exactly one leaf

        chosen, asked = random.Random(3), list[int]()
        for number in range(20):
            at, before = chosen.randrange(4000), server.ledger.requests
            new = pd.DataFrame({"brand": ["big"], "text": [f"one more, of {number}!"]})
            more = asker.run(pd.concat([frame[:at], new, frame[at:]]), PROMPT, **GIVEN)
            assert more.frame["n"][0] == 4001
            asked.append(server.ledger.requests - before)
        assert max(asked) <= 8
        assert sum(asked) / len(asked) <= 4


def test_a_run_over_groups_that_is_killed_pays_for_nothing_twice_but_what_was_in_flight(
    tmp_path: Path,
) -> None:
    frame, rows, out = reviews({"big": 2500, "b": 40}), tmp_path / "rows.csv", tmp_path / "out.json"
    frame.to_csv(rows, index=False)
    faults = {"429": 0.02, "reset_after": 0.01}
    with MessagesServer(answer=answered, latency=0.03, faults=faults, retry_after=0.01) as server:
        killed_and_let_through(
            lambda: start(SCRIPT, server.url, rows, out), server.url, kills := (3, 40)
        )
        delivered = [it.prompt for it in server.ledger.entries if it.delivered]
        assert len(delivered) - len(set(delivered)) <= 16 * len(kills)
        assert list(pd.read_json(out)["n"]) == [2500, 40]
        before = server.ledger.requests
        ends_well(start(SCRIPT, server.url, rows, out))
        assert server.ledger.requests == before
