"""Rows by group: one answer for each, at once or by a tree of map and merge, never paid twice."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

from ondine_nb import Run
from ondine_nb.errors import ColumnError, ConfigurationError, PromptError
from ondine_nb.models import ExecutionResult
from tests.asking import HAIKU, Asker, ended, statuses
from tests.grouping import PROMPT, SCHEMA, answered, is_merge, reviews, rows_in
from tests.server import MessagesServer

SIZES = {"big": 900, "small": 7, "one": 1, "some": 80}
SMALL = {"by": "brand", "schema": SCHEMA, "group_tokens": 400}  # a tree over the largest ones


@pytest.fixture
def server() -> Iterator[MessagesServer]:
    with MessagesServer(answer=answered) as running:
        yield running


def finds(frame: pd.DataFrame, brand: str) -> list[int]:
    """The positions of a brand's finds."""
    pairs = zip(frame["brand"], frame["text"], strict=True)
    return [at for at, (own, text) in enumerate(pairs) if own == brand and "!" in text]


def told(run: Run) -> None:
    assert run.error is None, run.error
    assert run.state == "done"


def test_there_is_one_row_for_each_group_with_its_columns_and_its_own_answer(
    server: MessagesServer, home: Path
) -> None:
    frame = (
        reviews({"acme": 3, "best": 60})
        .set_index(pd.Index([*"abc"] * 21))
        .sample(frac=1, random_state=1)
    )
    run = Asker(server, home).run(frame, PROMPT, by="brand", schema=SCHEMA)
    told(run)
    brands = list(dict.fromkeys(frame["brand"]))  # in the order of their first rows
    assert list(run.frame.columns) == ["brand", "n", "rows"]
    assert list(run.frame["brand"]) == brands
    assert list(run.frame["n"]) == [{"acme": 3, "best": 60}[brand] for brand in brands]
    assert list(run.frame.index) == [0, 1]
    for brand, rows in zip(brands, run.frame["rows"], strict=True):
        assert list(rows) == finds(frame, brand)
        assert all("!" in text for text in frame["text"].iloc[list(rows)])
    assert server.ledger.requests == 2
    assert statuses(run) == ["answered"] * 2


def test_the_rows_of_a_group_stand_in_the_frames_order_numbered_within_their_leaf(
    server: MessagesServer, home: Path
) -> None:
    frame = reviews(SIZES)
    run = Asker(server, home).run(frame, PROMPT, **SMALL)
    told(run)
    leaves = [it.prompt for it in server.ledger.entries if not is_merge(it.prompt)]
    shown = {text: prompt for prompt in leaves for text in rows_in(prompt)}
    assert sum(len(rows_in(prompt)) for prompt in leaves) == len(frame) == len(shown)
    places = {text: at for at, text in enumerate(frame["text"])}
    for prompt in leaves:
        own = [places[text] for text in rows_in(prompt)]
        assert own == list(range(own[0], own[-1] + 1))
        assert f"reviews of {frame['brand'][own[0]]} say" in prompt


def test_a_large_group_becomes_a_tree_and_each_row_is_counted_once(
    server: MessagesServer, home: Path
) -> None:
    frame = reviews(SIZES)
    run = Asker(server, home).run(frame, PROMPT, **SMALL)
    told(run)
    assert dict(zip(run.frame["brand"], run.frame["n"], strict=True)) == SIZES
    assert [list(rows) for rows in run.frame["rows"]] == [finds(frame, brand) for brand in SIZES]
    assert max(server.ledger.by_prompt().values()) == 1
    assert any(is_merge(it.prompt) for it in server.ledger.entries)
    assert run.cost == server.ledger.cost(*HAIKU)
    assert sum(Decimal(str(cost)) for cost in run.rows["cost"]) == run.cost
    progress = run.context.metrics.groups
    assert progress is not None
    assert (progress.groups, progress.rows, progress.left) == (4, len(frame), 0)
    assert progress.levels == 3


def test_the_dry_run_says_the_requests_the_levels_and_a_range_that_the_cost_is_in(
    server: MessagesServer, home: Path
) -> None:
    frame, asker = reviews(SIZES), Asker(server, home)
    estimator = asker.pipeline(frame, PROMPT, **SMALL).estimator()
    said = asyncio.run(estimator.estimate())
    run = asker.run(frame, PROMPT, **SMALL)
    told(run)
    assert said.requests == server.ledger.requests
    merges = sum(is_merge(it.prompt) for it in server.ledger.entries)
    assert said.notes[0] == (
        f"4 groups of 988 rows: {said.requests} requests, {said.requests - merges} about rows and "
        f"{merges} that merge answers, on 3 levels at most"
    )
    assert said.rows == 4
    assert said.low is not None
    assert said.high is not None
    assert run.cost is not None
    assert said.low <= run.cost <= said.high
    again = asyncio.run(asker.pipeline(frame, PROMPT, **SMALL).estimator().estimate())
    assert (again.requests, again.total_cost) == (0, 0)


def test_one_new_row_asks_again_only_its_leaf_and_the_path_above_it(
    server: MessagesServer, home: Path
) -> None:
    frame, asker, chosen = reviews(SIZES), Asker(server, home), random.Random(5)
    whole = asker.run(frame, PROMPT, **SMALL)
    told(whole)
    asked = []
    for number in range(12):
        at, before = chosen.randrange(900), server.ledger.requests
        new = pd.DataFrame({"brand": ["big"], "text": [f"new number {number}{'!' * number}"]})
        run = asker.run(pd.concat([frame[:at], new, frame[at:]]), PROMPT, **SMALL)
        told(run)
        assert run.frame["n"][0] == 901
        asked.append(server.ledger.requests - before)
    assert max(asked) <= 8
    assert sum(asked) / len(asked) <= 4


@pytest.mark.parametrize("fault", ["400", "refusal", "bad_schema"])
def test_a_failed_leaf_fails_its_group_by_name_and_a_retry_asks_only_what_failed(
    fault: str, home: Path
) -> None:
    frame = reviews(SIZES)
    broken = {"on": True}

    def plan(body: Any, _attempt: int) -> str | None:
        return fault if broken["on"] and "review 123:" in str(body) else None

    with MessagesServer(answer=answered, plan=plan) as server:
        asker = Asker(server, home)

        async def both() -> tuple[Run, Run]:
            run = Run(asker.pipeline(frame, PROMPT, **SMALL))
            await ended(run)
            broken["on"] = False
            before.append(server.ledger.requests)
            retry = run.retry_failed()
            over = asyncio.Event()
            retry.when_over(lambda _: over.set())
            await over.wait()
            return run, retry

        before: list[int] = []
        run, retry = asyncio.run(both())
        assert statuses(run) == ["failed", "answered", "answered", "answered"]
        (message,) = run.errors["message"]
        assert message.startswith("rows ")
        assert "of 900 in the group: " in message
        assert list(run.errors["row"]) == [0]
        told(retry)
        assert dict(zip(retry.frame["brand"], retry.frame["n"], strict=True)) == SIZES
        # The leaf that failed, and leaves and merges that were never asked: nothing good twice.
        paid = server.ledger.by_prompt()
        assert {prompt for prompt, times in paid.items() if times > 1} <= {
            prompt for prompt in paid if "review 123:" in prompt
        }
        assert server.ledger.requests > before[0]


def test_a_run_that_is_stopped_keeps_what_is_in_flight_and_the_next_pays_for_the_rest(
    home: Path,
) -> None:
    frame = reviews(SIZES)
    with MessagesServer(answer=answered, latency=0.05) as server:
        asker = Asker(server, home)
        run = asker.stopped(9, frame, PROMPT, concurrency=4, **SMALL)
        assert run.state == "stopped"
        assert "not_run" in statuses(run)
        first = server.ledger.requests
        assert run.cost == server.ledger.cost(*HAIKU)
        whole = asker.run(frame, PROMPT, **SMALL)
        told(whole)
        assert dict(zip(whole.frame["brand"], whole.frame["n"], strict=True)) == SIZES
        assert max(server.ledger.by_prompt().values()) == 1
        assert server.ledger.requests > first


def test_a_budget_is_a_ceiling_for_the_questions_of_a_tree_too(
    server: MessagesServer, home: Path
) -> None:
    frame, asker = reviews(SIZES), Asker(server, home)
    run = asker.run(frame, PROMPT, budget="0.0012", concurrency=2, **SMALL)
    assert run.cost is not None
    assert run.cost <= Decimal("0.0012")
    assert run.cost == server.ledger.cost(*HAIKU)
    assert "not_run" in statuses(run)
    whole = asker.run(frame, PROMPT, **SMALL)
    told(whole)
    assert max(server.ledger.by_prompt().values()) == 1


def test_faults_on_the_way_change_no_answer_and_pay_nothing_twice(home: Path) -> None:
    frame = reviews({"big": 400, "some": 50})
    faults = {"429": 0.05, "529": 0.05, "reset_before": 0.05, "500": 0.05}
    with MessagesServer(answer=answered, faults=faults, seed=4) as server:
        run = Asker(server, home).run(frame, PROMPT, **SMALL)
        told(run)
        assert list(run.frame["n"]) == [400, 50]
        assert max(server.ledger.by_prompt().values()) == 1


def test_equal_leaves_of_several_groups_are_asked_once(server: MessagesServer, home: Path) -> None:
    one = reviews({"a": 300})
    frame = pd.concat([one, one.assign(brand="b")])
    run = Asker(server, home).run(frame, "Say:\n{text}", **SMALL)
    told(run)
    assert list(run.frame["n"]) == [300, 300]
    assert max(server.ledger.by_prompt().values()) == 1
    assert list(run.frame["rows"][1]) == [row + 300 for row in run.frame["rows"][0]]


@pytest.mark.parametrize("by", ["", [], ()])
@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_without_a_column_there_is_one_answer_for_the_whole_frame(
    by: Any, kind: str, server: MessagesServer, home: Path
) -> None:
    frame: Any = reviews({"a": 30, "b": 40})
    frame = frame if kind == "pandas" else pl.from_pandas(frame)
    run = Asker(server, home).run(frame, "Say:\n{text}", by=by, schema=SCHEMA)
    told(run)
    assert list(run.frame.columns) == ["n", "rows"]
    assert list(run.frame["n"]) == [70]
    assert isinstance(run.frame, type(frame))
    nothing = Asker(server, home).run(frame[:0], "Say:\n{text}", by=by, schema=SCHEMA)
    assert list(nothing.frame.columns) == ["n", "rows"]
    assert len(nothing.frame) == 0


def test_polars_and_pandas_ask_the_same(server: MessagesServer, home: Path) -> None:
    frame, asker = reviews(SIZES), Asker(server, home)
    told(asker.run(frame, PROMPT, **SMALL))
    before = server.ledger.requests
    run = asker.run(pl.from_pandas(frame), PROMPT, **SMALL)
    told(run)
    assert server.ledger.requests == before
    assert run.frame["n"].to_list() == list(SIZES.values())
    assert statuses(run) == ["journal"] * 4


def test_missing_values_are_a_group_and_rows_with_nothing_to_say_are_left_out(
    server: MessagesServer, home: Path
) -> None:
    frame = pd.DataFrame(
        {
            "brand": ["a", None, "a", None, "b"],
            "text": ["one", "two", None, "three!", None],
        }
    )
    run = Asker(server, home).run(frame, PROMPT, by="brand", schema=SCHEMA)
    told(run)
    assert list(run.frame["n"].astype("Int64").fillna(0)) == [1, 2, 0]
    assert list(run.frame["rows"][1]) == [3]
    assert statuses(run) == ["answered", "answered", "skipped"]


def test_plain_answers_are_merged_as_text(home: Path) -> None:
    with MessagesServer(
        answer=lambda body: str(sum(map(int, _numbers(body))))  # leaves say 1 for each row
    ) as server:
        run = Asker(server, home).run(
            reviews({"big": 900}), PROMPT, by="brand", group_tokens=400, column="count"
        )
        told(run)
        assert list(run.frame["count"]) == ["900"]


def _numbers(body: Any) -> list[str]:
    from tests.server.answers import prompt_of

    prompt = prompt_of(body)
    items = rows_in(prompt)
    return [item.strip('"') for item in items] if is_merge(prompt) else ["1"] * len(items)


def test_an_answer_that_names_a_row_that_is_not_there_is_asked_again(home: Path) -> None:
    def wrong(body: Any) -> str:
        return '{"n": 1, "rows": [8]}'

    with MessagesServer(answer=wrong) as server:
        run = Asker(server, home).run(reviews({"a": 7}), PROMPT, by="brand", schema=SCHEMA)
        assert statuses(run) == ["failed"]
        (message,) = run.errors["message"]
        assert message == "the answer names row 8, and the rows are numbered 1 to 7 (asked 3 times)"
        assert server.ledger.requests == 3


def test_text_in_a_row_cannot_begin_a_row_of_its_own(server: MessagesServer, home: Path) -> None:
    frame = pd.DataFrame({"brand": ["a", "a"], "text": ["one\n2. two!\n3. three!", "last"]})
    run = Asker(server, home).run(frame, PROMPT, by="brand", schema=SCHEMA)
    told(run)
    assert list(run.frame["n"]) == [2]
    (entry,) = server.ledger.entries
    assert "\n1. one\n   2. two!\n   3. three!\n2. last" in entry.prompt


def test_a_sample_and_a_preview_are_of_groups_and_a_whole_run_has_them_for_nothing(
    server: MessagesServer, home: Path
) -> None:
    frame, asker = reviews({f"b{at}": 5 for at in range(9)}), Asker(server, home)
    shown = asker.pipeline(frame, PROMPT, by="brand", schema=SCHEMA).preview(3)
    sampled = asker.run(frame, PROMPT, by="brand", schema=SCHEMA, sample=3)
    told(sampled)
    assert list(shown["brand"]) == list(sampled.frame["brand"])
    assert server.ledger.requests == 3
    told(asker.run(frame, PROMPT, by="brand", schema=SCHEMA))
    assert server.ledger.requests == 9


def test_a_batch_takes_groups_of_one_request_and_names_one_that_takes_more(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ondine_nb.stages.batch import BatchPolicy
    from ondine_nb.stages.batch import plan as batching
    from tests.server.batches import BatchRules

    quick = BatchPolicy(first=0.02, longest=0.1, grace=0.3, patience=5)
    monkeypatch.setattr(batching, "PACE", quick)
    with MessagesServer(answer=answered, batches=BatchRules(delay=0.05)) as server:
        asker = Asker(server, home)
        run = asker.run(reviews({"a": 4, "b": 60}), PROMPT, by="brand", schema=SCHEMA, batch=True)
        told(run)
        assert list(run.frame["n"]) == [4, 60]
        arrived = server.arrived
        with pytest.raises(ConfigurationError, match=r"a day for each .* brand .big. has 900"):
            asker.pipeline(reviews(SIZES), PROMPT, batch=True, **SMALL)
        assert server.arrived == arrived


def test_a_run_that_is_gone_on_with_knows_its_frame_and_its_groups(
    server: MessagesServer, home: Path
) -> None:
    frame, asker = reviews(SIZES), Asker(server, home)
    run = asker.run(frame, PROMPT, budget="0.0012", concurrency=2, **SMALL)
    spent = server.ledger.requests
    pipeline = type(run.pipeline)
    with pytest.raises(ConfigurationError, match="987 rows, the run had 988"):
        pipeline.resume(run.id, frame[1:], journal=home)
    with pytest.raises(ConfigurationError, match="column 'text' has other values"):
        pipeline.resume(run.id, frame.assign(text="same"), journal=home)
    resumed = pipeline.resume(run.id, frame, journal=home, budget=1)
    result: ExecutionResult = resumed.execute()
    assert list(result.data["n"]) == list(SIZES.values())
    assert server.ledger.requests > spent
    assert max(server.ledger.by_prompt().values()) == 1


@pytest.mark.parametrize(
    ("options", "prompt", "error", "match"),
    [
        ({"by": "maker"}, PROMPT, ColumnError, "no column 'maker'"),
        ({"by": "brand,brand"}, PROMPT, ColumnError, "--by names the column 'brand' twice"),
        ({"by": "brand,"}, PROMPT, ConfigurationError, "a name is missing beside a comma"),
        ({"by": 3}, PROMPT, ConfigurationError, "--by has to be columns by name"),
        ({"by": "brand"}, "Say {brand}", ConfigurationError, "names only columns of --by"),
        ({"by": "brand"}, "Say {nothing}", PromptError, "'nothing'"),
        ({"by": "brand", "column": "brand"}, PROMPT, ColumnError, "already has a column 'brand'"),
        ({"group_tokens": 900}, PROMPT, ConfigurationError, "there is no by: give --by COLUMN"),
        ({"by": "brand", "pack": 4}, PROMPT, ConfigurationError, "--by and --pack can't go toget"),
        ({"schema": "rows: list[row]"}, PROMPT, ConfigurationError, "give --by COLUMN, or leave"),
    ],
)
def test_what_cannot_be_grouped_is_refused_in_a_line_before_anything_is_sent(
    options: dict[str, Any],
    prompt: str,
    error: type[Exception],
    match: str,
    server: MessagesServer,
    home: Path,
) -> None:
    with pytest.raises(error, match=match):
        Asker(server, home).pipeline(reviews({"a": 3}), prompt, **options)
    assert server.arrived == 0


def test_a_stream_is_refused_for_its_groups_may_be_anywhere(
    server: MessagesServer, home: Path, tmp_path: Path
) -> None:
    path = tmp_path / "rows.csv"
    reviews({"a": 3}).to_csv(path, index=False)
    with pytest.raises(ConfigurationError, match="streams: read it into a DataFrame first"):
        Asker(server, home).pipeline(str(path), PROMPT, by="brand")


def test_the_results_of_groups_are_written_as_they_come(
    server: MessagesServer, home: Path, tmp_path: Path
) -> None:
    frame, path = reviews({f"b{at}": 4 for at in range(30)}), tmp_path / "out.csv"
    run = Asker(server, home).run(frame, PROMPT, by="brand", schema=SCHEMA, to=path, chunk_size=7)
    told(run)
    written = pd.read_csv(path)
    assert list(written["brand"]) == list(dict.fromkeys(frame["brand"]))
    assert list(written["n"]) == [4] * 30
