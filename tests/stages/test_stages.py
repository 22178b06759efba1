"""Load, prompt and parse over real frames, and invoke between them against a real server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ondine_nb.data.columns import Column
from ondine_nb.data.frames import wrap
from ondine_nb.errors import SchemaNotMetError
from ondine_nb.journal.journal import Journal
from ondine_nb.models import Usage
from ondine_nb.orchestration import (
    AskAgain,
    AsyncExecutor,
    ExecutionContext,
    Row,
    RowSet,
    StreamingExecutor,
)
from ondine_nb.prompts.schema import parse_schema
from ondine_nb.prompts.template import Template
from ondine_nb.providers import Answer, Settings
from ondine_nb.providers.anthropic.client import AnthropicProvider
from ondine_nb.sending.retry import Backoff
from ondine_nb.stages import LoadStage, ParseStage, PromptStage
from tests.asking import asking
from tests.patience import PATIENCE
from tests.server import MessagesServer, echo_of, value_of
from tests.server.answers import prompt_of

KINDS = [pd.DataFrame, pl.DataFrame]
COLUMN = Column("out", "int", ())


def rowset(n: int, rerun: Sequence[int] | None = None) -> RowSet:
    return RowSet(
        wrap(pd.DataFrame({"n": range(n), "t": [f"t{k}" for k in range(n)]})), rerun=rerun
    )


# --- row sets


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 30), st.integers(1, 9), st.randoms())
def test_rows_come_in_order_and_outputs_go_back_to_their_rows(
    n: int, size: int, random: Any
) -> None:
    """Whatever order they were answered in."""
    held = rowset(n)
    chunks = list(held.chunks(["n"], size))
    assert [len(chunk) for chunk in chunks] == [min(size, n - at) for at in range(0, n, size)]
    rows = [row for chunk in chunks for row in chunk]
    assert [(row.position, row["n"]) for row in rows] == [(k, k) for k in range(n)]
    for row in random.sample(rows, n):
        row.outputs = {"out": row.position * 2} if row.position % 3 else None
    out = held.to_frame([COLUMN])["out"]
    assert [None if pd.isna(value) else value for value in out] == [
        k * 2 if k % 3 else None for k in range(n)
    ]


def test_a_rerun_asks_just_its_rows_and_keeps_the_others() -> None:
    held = rowset(6)
    for row in next(held.chunks(None)):
        row.outputs = {"out": row.position}
    again = RowSet(held.frame, held.rows, rerun=[1, 4])
    rows = [row for chunk in again.chunks(["n"]) for row in chunk]
    assert [(row.position, row["n"]) for row in rows] == [(1, 1), (4, 4)]
    rows[0].outputs = {"out": 100}
    context = ExecutionContext()
    LoadStage(again).process(None, context)
    assert context.total_rows == 2
    out = again.to_frame([COLUMN])["out"]
    assert [None if pd.isna(value) else value for value in out] == [0, 100, 2, 3, None, 5]


def test_without_names_a_row_has_all_columns_and_unread_rows_are_empty_cells() -> None:
    held = rowset(3)
    assert len(held.to_frame([COLUMN])) == 3
    row = next(held.chunks(None))[2]
    assert (row["n"], row["t"]) == (2, "t2")


def test_loading_tells_how_many_rows_there_are() -> None:
    held, context = rowset(7), ExecutionContext()
    assert LoadStage(held).process(None, context) is held
    assert context.total_rows == 7


# --- prompts


async def prompted(template: str, *texts: Any) -> list[Row]:
    stage = PromptStage(Template.compile(template, ["t"], {}, "data"))
    rows = [Row(at, (text,), {"t": 0}) for at, text in enumerate(texts)]
    await stage.prepare(rows, ExecutionContext())
    return rows


async def test_prompts_are_rendered_and_rows_without_any_value_skipped() -> None:
    rows = await prompted("Say {t}!", "a", None, float("nan"), "")
    assert [row.prompt and row.prompt.text for row in rows] == ["Say a!", None, None, "Say !"]
    assert [row.status for row in rows] == ["not_run", "skipped", "skipped", "not_run"]


async def test_examples_are_picked_while_the_loop_goes_on() -> None:
    loop_goes_on = threading.Event()

    class Slow:
        def before(self, rows: Sequence[Sequence[Any]]) -> list[str]:
            assert loop_goes_on.wait(PATIENCE)  # which nobody sets while the loop is held
            return [f"like {text}: " if text != "b" else "" for (text,) in rows]

    stage = PromptStage(Template.compile("Say {t}!", ["t"], {}, "data"), Slow())
    rows = [Row(at, (text,), {"t": 0}) for at, text in enumerate(["a", None, "b"])]
    preparing = asyncio.create_task(stage.prepare(rows, ExecutionContext()))
    asyncio.get_running_loop().call_soon(loop_goes_on.set)
    await preparing
    assert [row.prompt and row.prompt.text for row in rows] == ["like a: Say a!", None, "Say b!"]


async def test_a_cell_that_cant_be_rendered_fails_its_row_alone() -> None:
    class Odd:
        def __str__(self) -> str:
            raise RuntimeError("odd cell")

        __repr__ = __str__

    rows = await prompted("Say {t}!", "a", Odd(), "b")
    assert [row.status for row in rows] == ["not_run", "failed", "not_run"]
    assert rows[1].failure is not None
    assert rows[1].failure.stage == "prompt"


# --- parsing


def stage_of(schema: str | None, **given_: Any) -> tuple[ParseStage, Any]:
    asker = object()
    parsed = None if schema is None else parse_schema(schema)
    return ParseStage(parsed, asker, **given_), asker  # type: ignore[arg-type]


def answered(text: str) -> Row:
    row = Row(0, (), {})
    row.answer = Answer(text, "end_turn", Usage())
    return row


async def test_without_a_schema_the_text_is_the_column() -> None:
    stage, _ = stage_of(None, column="reply")
    assert [(column.name, column.kind) for column in stage.produces] == [("reply", "str")]
    row = answered(" as it is \n")
    await stage.process_row(row, ExecutionContext())
    assert row.outputs == {"reply": " as it is \n"}


async def test_with_a_schema_each_field_is_a_typed_column() -> None:
    stage, _ = stage_of("n: int, kind: a|b")
    assert [column.name for column in stage.produces] == ["n", "kind"]
    row = answered('{"n": 3, "kind": "b"}')
    await stage.process_row(row, ExecutionContext())
    assert row.outputs == {"n": 3, "kind": "b"}


async def test_what_breaks_the_schema_is_asked_again_and_then_fails_saying_how_often() -> None:
    stage, asker = stage_of("n: int", reasks=2)
    row = answered('{"n": "many"}')
    for times in (1, 2):
        with pytest.raises(AskAgain) as raised:
            await stage.process_row(row, ExecutionContext())
        assert raised.value.stage is asker
        assert row.reasks == times
    with pytest.raises(SchemaNotMetError, match=r"\(asked 3 times\)"):
        await stage.process_row(row, ExecutionContext())


# --- all of them together, over HTTP


def pipeline(
    server: MessagesServer, data: Any, journal: Journal, schema: str | None = None, **given_: Any
) -> tuple[list[Any], RowSet]:
    parsed = None if schema is None else parse_schema(schema)
    settings_ = Settings(
        model="claude-haiku-5-5",
        schema=None if parsed is None else parsed.json_schema,
        timeout=PATIENCE,
    )
    held = RowSet(wrap(data))
    invoke = asking(
        AnthropicProvider(settings_.model, base_url=server.url, api_key="k"),
        settings_,
        journal=journal,
        budget=given_.get("budget"),
        run_id="r",
        backoff=Backoff(base=0.001),
    )
    template = Template.compile("Tell {t}", held.frame.columns, {}, "data")
    return [LoadStage(held), PromptStage(template), invoke, ParseStage(parsed, invoke)], held


def texts(kind: Any, n: int = 12) -> Any:
    return kind({"t": [None if k == 5 else f"t{k}" for k in range(n)]})


FAULTS = ("429", "500", "reset_before", "reset_after", "half", "malformed", "529", "html")


def faults_of(k: int) -> list[str]:
    """Up to five faults before row `k` is answered: each kind comes at each place."""
    return [FAULTS[(k + at) % len(FAULTS)] for at in range(k % 6)]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_frame_is_answered_row_by_row_in_spite_of_faults(kind: Any, home: Path) -> None:
    """Every attempt is counted, and what may have been billed is held."""

    def plan(body: Any, attempt: int) -> str | None:
        faults = faults_of(int(prompt_of(body).removeprefix("Tell t")))
        return faults[attempt - 1] if attempt <= len(faults) else None

    n, journal, context = 48, Journal(home), ExecutionContext()
    with MessagesServer(plan=plan, latency=(0, 0.01)) as server:
        stages, held = pipeline(server, texts(kind, n), journal)
        result = await AsyncExecutor(8).execute(stages, context)
        journal.close()
    told = [None if pd.isna(row["response"]) else row["response"] for row in result.to_list()]
    assert told == [None if k == 5 else echo_of(f"Tell t{k}") for k in range(n)]
    stats = result.metrics
    assert (stats.processed_rows, stats.skipped_rows, stats.failed_rows) == (n - 1, 1, 0)
    asked = [k for k in range(n) if k != 5]
    rows = [held.rows[k] for k in asked]
    assert [row.attempts if row else None for row in rows] == [1 + len(faults_of(k)) for k in asked]
    assert server.arrived == context.metrics.requests == sum(1 + len(faults_of(k)) for k in asked)
    delivered = [entry for entry in server.ledger.entries if entry.delivered]
    assert len(delivered) == n - 1
    assert context.usage.input_tokens == sum(entry.input_tokens for entry in delivered)
    assert context.usage.output_tokens == sum(entry.output_tokens for entry in delivered)
    # Whatever was billed and lost is covered by what is shown as possibly billed.
    haiku = (Decimal("0.10"), Decimal("0.50"))
    covered = context.accumulated_cost + context.metrics.possibly_billed
    assert context.accumulated_cost < server.ledger.cost(*haiku) <= covered


@pytest.mark.parametrize("kind", KINDS)
async def test_a_stream_asks_through_all_its_chunks(kind: Any, home: Path) -> None:
    """The provider is opened for each chunk anew; equal prompts of different chunks are one."""
    journal, context = Journal(home), ExecutionContext()
    data = kind({"t": [f"t{k % 9}" for k in range(20)]})
    with MessagesServer() as server:
        stages, _ = pipeline(server, data, journal)
        executor = StreamingExecutor(chunk_size=6)
        chunks = [chunk async for chunk in executor.execute_async(stages, context)]
        assert server.arrived == 9
    assert [len(chunk) for chunk in chunks] == [6, 6, 6, 2]
    told = [value for chunk in chunks for value in chunk["response"]]
    assert told == [echo_of(f"Tell t{k % 9}") for k in range(20)]
    assert executor.result is not None
    assert executor.result.metrics.failed_rows == 0
    assert executor.result.costs.total_cost == context.accumulated_cost > Decimal(0)
    assert executor.result.costs.output_tokens > 0
    journal.close()


async def test_an_answer_that_breaks_the_schema_is_asked_again_and_paid(home: Path) -> None:
    journal, context, schema = Journal(home), ExecutionContext(), "n: int, kind: a|b"
    plan = lambda body, attempt: "bad_schema" if attempt < 3 else None  # noqa: E731
    with MessagesServer(plan=plan) as server:
        stages, _ = pipeline(server, pd.DataFrame({"t": ["x"]}), journal, schema)
        result = await AsyncExecutor(2).execute(stages, context)
        sent = server.requests[0].body["output_config"]["format"]["schema"]
        assert server.ledger.requests == 3
    assert result.metrics.processed_rows == 1
    assert result.data[["n", "kind"]].iloc[0].to_dict() == value_of(sent, "Tell x")
    assert result.costs.output_tokens == sum(entry.output_tokens for entry in server.ledger.entries)
    journal.close()
