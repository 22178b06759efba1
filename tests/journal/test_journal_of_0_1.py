"""A journal that version 0.1 wrote (commit b53abad) has every answer, and nothing is paid again.

By public names only: what must hold is what a user has on disk, wherever the modules lie.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import time
import urllib.request
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ondine_nb import Pipeline, Run
from tests.fixtures.runs_of_0_1 import (
    EXPECTED,
    FOLDER,
    RUNS,
    UNREAD,
    Shout,
    frame_of,
    paid,
    pipeline_of,
    plain,
)
from tests.patience import PATIENCE
from tests.server import MessagesServer, echo_of
from tests.server.batches import BatchRules

TOLD = json.loads(EXPECTED.read_text(encoding="utf-8"))
READ = [name for name in RUNS if name != UNREAD]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Whatever is sent to the runs' base URL gets to this one, and to nobody else."""
    with MessagesServer(batches=BatchRules(delay=0)) as running:
        for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("HTTP_PROXY", running.url)
        yield running


@pytest.fixture(autouse=True)
def folder(home: Path) -> Path:
    """The journal, where a user's would be."""
    return Path(shutil.copytree(FOLDER, home))


def again(name: str) -> dict[str, Any]:
    """What comes of the run once more: the same, and each answer from the journal."""
    told = {what: TOLD[name][what] for what in ("frame", "dtypes", "errors")}
    from_journal = {"answered": "journal"}
    return told | {"statuses": [from_journal.get(each, each) for each in TOLD[name]["statuses"]]}


@pytest.mark.parametrize("name", READ)
def test_a_run_once_more_has_every_answer_from_the_journal(
    server: MessagesServer, name: str
) -> None:
    shout = Shout()
    run = Run(pipeline_of(name, shout))
    run.execute()
    assert plain(run) == again(name)
    assert run.costs.total_cost == (None if name == "own" else 0)
    assert not run.rows["attempts"].any()
    assert (dict(server.calls), shout.asked) == ({}, [])
    assert paid() == TOLD["costs"]


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("by", ["id", "name"])
def test_a_recorded_run_goes_on_and_pays_nothing(
    server: MessagesServer, name: str, by: str
) -> None:
    shout = Shout()
    given = {"provider": shout} if name == "own" else {}
    run = Pipeline.resume(TOLD[name]["run"] if by == "id" else name, frame_of(name), **given)
    spent = TOLD[name]["cost"] and Decimal(TOLD[name]["cost"])
    assert run.costs.total_cost == spent
    run.execute()
    assert run.id == TOLD[name]["run"]
    assert plain(run) == again(name)
    assert run.costs.total_cost == spent
    assert (dict(server.calls), shout.asked) == ({}, [])
    assert paid() == TOLD["costs"]


def test_what_was_paid_is_told_by_run() -> None:
    assert paid() == TOLD["costs"]
    assert {each["name"] for each in TOLD["costs"]} == set(READ)


@pytest.mark.parametrize("name", [name for name in READ if name not in ("own", "batch")])
def test_a_further_row_is_the_only_one_that_is_sent(server: MessagesServer, name: str) -> None:
    more = pd.DataFrame({"text": [*RUNS[name][0], "a further one"]})
    run = Run(pipeline_of(name, Shout(), more))
    run.execute()
    assert list(run.rows["status"]) == [*again(name)["statuses"], "answered"]
    assert server.arrived == 1
    assert server.requests[0].prompt.endswith("a further one")


def test_a_provider_of_ones_own_is_asked_a_further_row_alone() -> None:
    shout = Shout()
    more = pd.DataFrame({"text": [*RUNS["own"][0], "loudest"]})
    pipeline_of("own", shout, more).execute()
    assert shout.asked == ["Shout: loudest"]


def test_with_more_tokens_the_row_that_was_cut_goes_again_alone(server: MessagesServer) -> None:
    run = Run(pipeline_of("plain", Shout(), max_tokens=128))
    run.execute()
    assert [request.prompt for request in server.requests] == ["Tell: is cut"]
    assert list(run.frame["response"])[4] == echo_of("Tell: is cut")


@pytest.mark.parametrize("how", ["run", "resume"])
def test_a_batch_that_nobody_has_read_is_read_and_not_sent_again(
    server: MessagesServer, folder: Path, how: str
) -> None:
    _have_the_batch(server)
    _make_recent(folder)
    run = (
        Run(pipeline_of(UNREAD, Shout()))
        if how == "run"
        else Pipeline.resume(UNREAD, frame_of(UNREAD))
    )
    run.execute()
    answers = [echo_of(f"Read later: {text}") for text in RUNS[UNREAD][0]]
    assert list(run.frame["response"]) == answers
    assert (server.batches.calls["POST batches"], server.arrived) == (1, 0)  # that of the test
    assert run.costs.total_cost == server.ledger.cost(Decimal("0.5"), Decimal("2.5")) > 0
    looked = server.calls.total()
    once_more = Run(pipeline_of(UNREAD, Shout()))
    once_more.execute()
    assert list(once_more.rows["status"]) == ["journal"] * 4
    assert server.calls.total() == looked


def _have_the_batch(server: MessagesServer) -> None:
    """The server's first batch, which has the id that the first one had when it was written."""
    body = json.dumps({"requests": TOLD["unread batch"]}).encode()
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(f"{server.url}/v1/messages/batches", body, timeout=PATIENCE) as response:
        assert response.status == 200


def _make_recent(folder: Path) -> None:
    """The API keeps results for 29 days, so older batches aren't looked for."""
    with closing(sqlite3.connect(folder / "answers.db")) as store, store:
        made = store.execute("UPDATE batches SET at = ? WHERE state = 1", (time.time(),))
        assert made.rowcount == 1
