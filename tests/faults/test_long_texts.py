"""A text of 2 MB with 40 facts spread over it: all found, each at its place, killed and resumed."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pandas as pd

from tests.asking import HAIKU, Asker
from tests.faults.processes import ends_well, killed_and_let_through, start
from tests.server import MessagesServer
from tests.splitting import FACTS, PROMPT, answered, is_merge, long_text, of_context, rows

GIVEN = {"schema": FACTS, "evidence": "all", "split": "auto"}
SCRIPT = f"""
import sys
import pandas as pd
from ondine_nb import Pipeline

url, rows, out = sys.argv[1:]
given = {GIVEN | {"split": 1_000}!r}
result = Pipeline(pd.read_json(rows), {PROMPT!r}, base_url=url, concurrency=8, **given).execute()
result.data.to_json(out, orient="records")
"""


def test_2_mb_with_40_facts_come_back_with_40_each_with_its_offsets(home: Path) -> None:
    text, told = long_text(2_000_000, 40)
    # The number differs from part to part, so that it takes questions on each level.
    for number, at in enumerate((100_000, 700_000, 1_300_000, 1_900_000)):
        place = text.index(". ", at) + 2
        text = f"{text[:place]}Its number is {number}. {text[place:]}"
    frame = rows(text, "a short one")
    with MessagesServer(answer=answered) as server:
        of_context(home, server, 200_000)
        asker = Asker(server, home)
        estimator = asker.pipeline(frame, PROMPT, **GIVEN).estimator()
        said = asyncio.run(estimator.estimate())
        run = asker.run(frame, PROMPT, **GIVEN)
        assert run.error is None
        assert run.state == "done"
        row = run.frame.iloc[0]
        assert list(row["facts"]) == told
        assert [text.index(fact) for fact in told] == list(row["facts_evidence_start"])
        assert [text.index(fact) + len(fact) for fact in told] == list(row["facts_evidence_end"])
        assert set(row["facts_evidence_match"]) == {"exact"}
        assert row["number"] == 3
        assert row["number_evidence_start"] == text.index("Its number is 3")
        merges = sum(is_merge(entry.prompt) for entry in server.ledger.entries)
        assert merges > 0
        assert server.ledger.requests <= said.requests < 60
        assert said.low is not None
        assert said.high is not None
        assert run.cost is not None
        assert said.low <= run.cost == server.ledger.cost(*HAIKU) <= said.high
        assert sum(len(entry.prompt) for entry in server.ledger.entries) < 1.05 * len(text)

        before, at = server.ledger.requests, text.index(" ", 1_000_000)
        edited = rows(f"{text[:at]}, as some say,{text[at:]}", "a short one")
        again = asker.run(edited, PROMPT, **GIVEN)
        assert list(again.frame["facts"].iloc[0]) == told
        assert server.ledger.requests - before <= 5


def test_a_long_text_whose_run_is_killed_pays_for_nothing_twice_but_what_was_in_flight(
    tmp_path: Path,
) -> None:
    text, told = long_text(200_000, 20, seed=3)
    given, out = tmp_path / "rows.json", tmp_path / "out.json"
    rows(text, "a short one").to_json(given, orient="records")
    faults = {"429": 0.02, "reset_after": 0.01}
    with MessagesServer(answer=answered, latency=0.03, faults=faults, retry_after=0.01) as server:
        killed_and_let_through(
            lambda: start(SCRIPT, server.url, given, out), server.url, kills := (12,)
        )
        delivered = [it.prompt for it in server.ledger.entries if it.delivered]
        assert len(delivered) - len(set(delivered)) <= 8 * len(kills)
        (row, _) = json.loads(out.read_text("utf-8"))
        assert row["facts"] == told
        assert row["facts_evidence_start"] == [text.index(fact) for fact in told]
        before = server.ledger.requests
        ends_well(start(SCRIPT, server.url, given, out))
        assert server.ledger.requests == before
        assert len(pd.read_json(out)) == 2
