"""The Python API end to end: what stands in which row, what is sent, what is refused unsent."""

from __future__ import annotations

import inspect
import math
import random
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from ondine_nb import Pipeline
from ondine_nb.errors import ConfigurationError, FatalProviderError
from ondine_nb.orchestration import LoggingObserver
from tests.asking import HAIKU, Asker, echoes, journaled, statuses, texts
from tests.server import MessagesServer, echo_of, value_of

N = 500
PROMPT = "About {topic}: {a text}"
SCHEMA = (
    "mood: good|bad, score: float, count: int, sure: bool, day: date, tags: list[str], who: str?"
)


@pytest.fixture
def asker(tmp_path: Path) -> Iterator[Asker]:
    with MessagesServer() as server:
        asker = Asker(server, tmp_path)
        yield asker
        asker.end_process()


def cells() -> tuple[list[str | None], list[str | None]]:
    """Texts and topics of all rows; some are missing, 20 of them both."""
    rng = random.Random(7)
    found: list[str | None] = [f"t{at} {{brace}} é" for at in range(N)]
    topics: list[str | None] = [rng.choice(["sea", "air"]) for _ in range(N)]
    for at in rng.sample(range(N), 100):
        topics[at] = None
    gone = [at for at in range(N) if topics[at] is None][:20]
    for at in [*gone, *rng.sample([at for at in range(N) if topics[at]], 30)]:
        found[at] = None
    return found, topics


def prompts() -> list[str | None]:
    return [
        None if text is None and topic is None else f"About {topic or ''}: {text or ''}"
        for text, topic in zip(*cells(), strict=True)
    ]


def pandas_frame() -> pd.DataFrame:
    found, topics = cells()
    index = [at % 200 for at in range(N)]
    random.Random(3).shuffle(index)
    frame = pd.DataFrame(
        {
            "a text": found,
            "topic": pd.Categorical(topics),
            "n": pd.array([None, *range(1, N)], dtype="Int64"),
            "x": [float("nan"), *map(float, range(1, N))],
        },
        index=pd.Index(index, name="where"),
    )
    frame.attrs["source"] = "made up"
    return frame


def polars_frame() -> pl.DataFrame:
    found, topics = cells()
    return pl.DataFrame(
        {"a text": found, "topic": topics, "n": [None, *range(1, N)], "when": [None] * N},
        schema={"a text": pl.String, "topic": pl.Categorical, "n": pl.UInt16, "when": pl.Date},
    )


def kept(before: Any, after: Any) -> None:
    """The input's columns are in `after` just as they were."""
    if isinstance(before, pl.DataFrame):
        assert after.select(before.columns).equals(before)
        assert after.select(before.columns).schema == before.schema
    else:
        pd.testing.assert_frame_equal(after[list(before.columns)], before)
        assert after.attrs == before.attrs
        assert after.index.name == "where"


@pytest.fixture(params=[pandas_frame, polars_frame], ids=["pandas", "polars"])
def frame(request: pytest.FixtureRequest) -> Any:
    return request.param()


def values(column: Any) -> list[Any]:
    """The cells of a new column, with None for the missing ones."""
    if isinstance(column, pl.Series):
        return column.to_list()
    gone = column.isna().tolist()
    cells = column.astype(object).tolist()
    return [None if missing else cell for cell, missing in zip(cells, gone, strict=True)]


def test_each_text_answer_stands_in_its_own_row(frame: Any, tmp_path: Path) -> None:
    """Whatever order answers come in, whatever the index; rows with nothing to ask are skipped."""
    with MessagesServer(latency=(0, 0.03)) as server:
        run = Asker(server, tmp_path).run(frame, PROMPT, concurrency=100)
    expected = [None if prompt is None else echo_of(prompt) for prompt in prompts()]
    assert values(run.frame["response"]) == expected
    kept(frame, run.frame)
    dtype = run.frame["response"].dtype
    assert dtype == pl.String if isinstance(frame, pl.DataFrame) else str(dtype) == "str"
    assert run.state == "done"
    assert run.stats.skipped_rows == statuses(run).count("skipped") == 20
    assert run.stats.processed_rows == N - 20
    assert server.ledger.by_prompt().total() == len({p for p in prompts() if p})


def test_each_schema_answer_stands_in_its_own_row(frame: Any, tmp_path: Path) -> None:
    """Every field of every answer, in the dtypes that the design names."""
    with MessagesServer(latency=(0, 0.03)) as server:
        run = Asker(server, tmp_path).run(frame, PROMPT, schema=SCHEMA, concurrency=100)
    sent = server.requests[0].body["output_config"]["format"]["schema"]
    answers = [None if prompt is None else value_of(sent, prompt) for prompt in prompts()]
    kept(frame, run.frame)
    for name in ("mood", "score", "count", "sure", "tags", "who"):
        expected = [None if answer is None else answer[name] for answer in answers]
        assert values(run.frame[name]) == expected, name
    days = [None if day is None else str(day)[:10] for day in values(run.frame["day"])]
    assert days == [None if answer is None else answer["day"] for answer in answers]
    types = [str(run.frame[name].dtype) for name in ("mood", "score", "count", "sure", "day")]
    if isinstance(frame, pl.DataFrame):
        assert types == ["Enum(categories=['good', 'bad'])", "Float64", "Int64", "Boolean", "Date"]
        assert run.frame["tags"].dtype == pl.List(pl.String)
    else:
        assert types == ["category", "Float64", "Int64", "boolean", "datetime64[us]"]
        assert list(run.frame["mood"].cat.categories) == ["good", "bad"]
    assert run.stats.skipped_rows == 20


def test_a_second_run_sends_nothing(asker: Asker) -> None:
    """In the same process and in a later one: all from the journal, for $0."""
    first = asker.run(texts(30))
    assert asker.server.arrived == 30
    for _ in range(2):
        again = asker.run(texts(30))
        assert asker.server.arrived == 30
        assert journaled(again) == 30
        assert set(statuses(again)) == {"journal"}
        assert again.cost == 0
        assert again.context.metrics.saved == first.cost
        pd.testing.assert_frame_equal(again.frame, first.frame)
        asker.end_process()


def test_a_changed_text_sends_one_request(asker: Asker) -> None:
    data = texts(10)
    asker.run(data)
    data.loc[4, "text"] = "another"
    again = asker.run(data)
    assert asker.server.arrived == 11
    assert statuses(again)[4] == "answered"
    assert list(again.frame["response"]) == echoes(data)


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "Say: {text}"},
        {"model": "claude-sonnet-5-5"},
        {"system": "Be kind."},
        {"schema": "word: str"},
        {"effort": "low"},
        {"thinking": "auto"},
        {"fresh": True},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_decides_an_answer_sends_all_again(asker: Asker, change: dict[str, Any]) -> None:
    asker.run(texts(6))
    again = asker.run(texts(6), **change)
    assert asker.server.arrived == 12
    assert journaled(again) == 0
    assert asker.run(texts(6), **change | {"fresh": False}).cost == 0
    assert asker.server.arrived == 12


@pytest.mark.parametrize(
    "change",
    [{"concurrency": 3}, {"max_tokens": 2048}, {"budget": 1}, {"timeout": 9}, {"column": "other"}],
    ids=lambda change: next(iter(change)),
)
def test_what_decides_no_answer_sends_nothing_again(asker: Asker, change: dict[str, Any]) -> None:
    asker.run(texts(6))
    assert journaled(asker.run(texts(6), **change)) == 6
    assert asker.server.arrived == 6


def test_reordered_and_duplicated_rows_find_their_answers(asker: Asker) -> None:
    asker.run(texts(40))
    data = pd.concat([texts(40), texts(40)]).sample(frac=1, random_state=1)
    again = asker.run(data)
    assert asker.server.arrived == 40
    assert list(again.frame["response"]) == echoes(data)


@pytest.mark.parametrize("concurrency", [1, 50])
@pytest.mark.parametrize("rows", [12, 700])
def test_equal_prompts_are_sent_once(asker: Asker, rows: int, concurrency: int) -> None:
    """Near each other and in different chunks of the run."""
    data = pd.DataFrame({"text": [f"text {at % 4}" for at in range(rows)]})
    run = asker.run(data, concurrency=concurrency)
    assert asker.server.arrived == 4
    assert list(run.frame["response"]) == echoes(data)
    assert run.context.metrics.duplicates == rows - 4
    assert journaled(run) == 0
    assert run.cost == asker.server.ledger.cost(*HAIKU)


def test_a_larger_max_tokens_sends_only_rows_that_were_cut(tmp_path: Path) -> None:
    def answer(body: Any) -> str:
        return "word " * 40 if "long" in body["messages"][0]["content"] else "short"

    data = pd.DataFrame({"text": [f"{'long' if at % 3 == 0 else 'brief'} {at}" for at in range(9)]})
    with MessagesServer(answer=answer) as server:
        asker = Asker(server, tmp_path)
        cut = asker.run(data, max_tokens=10)
        assert list(cut.errors["error_type"]) == ["CutAnswerError"] * 3
        assert asker.run(data, max_tokens=10).stats.failed_rows == 3
        assert server.arrived == 9
        whole = asker.run(data, max_tokens=100)
        assert server.arrived == 12
        assert whole.stats.failed_rows == 0
        assert statuses(whole).count("answered") == 3
        assert asker.run(data, max_tokens=20).cost == 0
        assert server.arrived == 12


@pytest.mark.parametrize("fault", ["refusal", "refusal_text", "cut", "empty", "bad_schema"])
def test_paid_failures_come_from_the_journal(tmp_path: Path, fault: str) -> None:
    """Running again buys nothing twice; `fresh` does ask again."""
    failing = "Tell: text 2"
    plan = {failing: fault}
    with MessagesServer(plan=lambda body, _: plan.get(body["messages"][0]["content"])) as server:
        asker = Asker(server, tmp_path)
        first = asker.run(texts(5), schema="word: str")
        sent = server.arrived
        assert list(first.errors["row"]) == [2]
        assert first.cost == server.ledger.cost(*HAIKU)
        for _ in range(2):
            again = asker.run(texts(5), schema="word: str")
            assert server.arrived == sent
            assert list(again.errors["error_type"]) == list(first.errors["error_type"])
            assert again.cost == 0
            asker.end_process()
        plan.clear()
        assert asker.run(texts(5), schema="word: str", fresh=True).stats.failed_rows == 0
        assert server.arrived == sent + 5
        assert asker.run(texts(5), schema="word: str").stats.failed_rows == 0
        assert server.arrived == sent + 5


def test_unpaid_failures_are_sent_again(tmp_path: Path) -> None:
    plan: dict[str, str] = {"Tell: text 2": "400", "Tell: text 3": "413"}
    with MessagesServer(plan=lambda body, _: plan.get(body["messages"][0]["content"])) as server:
        asker = Asker(server, tmp_path)
        assert asker.run(texts(5)).stats.failed_rows == 2
        plan.clear()
        again = asker.run(texts(5))
    assert server.arrived == 7
    assert statuses(again) == ["journal"] * 2 + ["answered"] * 2 + ["journal"]


def test_rows_rejected_again_beside_journaled_ones_do_not_end_the_run(tmp_path: Path) -> None:
    """Twenty alike in a row end a run, whenever; an answer between them, journaled too, doesn't."""

    def plan(body: Any, _attempt: int) -> str | None:
        return "400" if int(body["messages"][0]["content"].split()[-1]) % 4 else None

    with MessagesServer(plan=plan) as server:
        asker = Asker(server, tmp_path)
        asker.run(texts(40), concurrency=1)
        again = asker.run(texts(40), concurrency=1)
    assert again.error is None
    assert (journaled(again), again.stats.failed_rows) == (10, 30)


def test_twenty_equal_rejections_before_any_answer_end_the_run(tmp_path: Path) -> None:
    with MessagesServer(faults={"400": 1}) as server, pytest.raises(FatalProviderError) as caught:
        Asker(server, tmp_path).pipeline(texts(200)).execute()
    assert "20 requests were all rejected alike" in str(caught.value)
    assert server.arrived <= 27


BAD = {
    "unknown column": ({"prompt": "Say {txet}"}, ["txet", "text"]),
    "no column": ({"prompt": "Say hello"}, ["names no column", "text"]),
    "format": ({"prompt": "Costs {price:.2f}"}, ["{price:.2f}", "{{"]),
    "attribute": ({"prompt": "Say {text.a}"}, ["{text.a}", "{{"]),
    "conversion": ({"prompt": "Say {text!r}"}, ["{text!r}", "{{"]),
    "empty prompt": ({"prompt": "  "}, ["prompt is empty"]),
    "unused parameter": ({"params": {"tone": "mild"}}, ["'tone'"]),
    "schema type": ({"schema": "mood: sting"}, ["mood", "sting"]),
    "schema empty name": ({"schema": ": str"}, ["str"]),
    "schema kind": ({"schema": 3}, ["int"]),
    "negative budget": ({"budget": -1}, ["--budget", "-1", "0 USD or more"]),
    "budget text": ({"budget": "two"}, ["--budget", "two", "0.50"]),
    "no concurrency": ({"concurrency": 0}, ["--concurrency", "0", "1 or more"]),
    "no tokens": ({"max_tokens": 0}, ["--max-tokens", "0", "1 or more"]),
    "half a token": ({"max_tokens": 1.5}, ["--max-tokens", "1.5", "whole"]),
    "no sample": ({"sample": 0}, ["--sample", "0"]),
    "unknown option": ({"concurency": 3}, ["concurency", "'concurrency'"]),
    "effort": ({"effort": "hihg"}, ["--effort", "hihg", "'high'"]),
    "on_error": ({"on_error": "go"}, ["--on-error", "keep, stop"]),
    "timeout": ({"timeout": 0}, ["--timeout", "0"]),
    "base url": ({"base_url": "localhost"}, ["--base-url", "localhost", "http://"]),
    "taken column": ({"column": "price"}, ["price", "--column", "--overwrite"]),
    "taken field": ({"schema": "text: str"}, ["text", "--column", "--overwrite"]),
    "unknown price": ({"model": "my-model", "budget": 1}, ["my-model", "--price-in", "--budget"]),
    "half a price": ({"model": "my-model", "price_in": 1}, ["my-model", "--price-out"]),
    "system": ({"system": 3}, ["--system", "int"]),
    "params": ({"params": ["tone"]}, ["--param", "list"]),
    "no stage": ({"stages": [len]}, ["built-in function len", "PipelineStage"]),
    "no list of stages": ({"stages": len}, ["stages", "list"]),
    "no list of observers": ({"observers": LoggingObserver()}, ["LoggingObserver", "list"]),
    "an observer's class": ({"observers": [LoggingObserver]}, ["observers", "LoggingObserver()"]),
    "no observer": ({"observers": [print]}, ["print", "ExecutionObserver"]),
    "a provider's class": ({"provider": Pipeline}, ["provider", "class Pipeline"]),
    "no provider": ({"provider": "claude"}, ["provider", "str"]),
    "evidence": ({"schema": "a: int", "evidence": True}, ["--evidence", "'all'", "bool"]),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_run_is_told_in_one_line_before_anything_is_sent(
    asker: Asker, case: str
) -> None:
    options, words = BAD[case]
    data = pd.DataFrame({"text": ["a"], "price": [1.0]})
    with pytest.raises(ConfigurationError) as caught:
        asker.pipeline(data, **options).execute()  # type: ignore[arg-type]
    message = str(caught.value)
    assert [word for word in words if word not in message] == []
    assert "\n" not in message
    assert asker.server.arrived == 0


WHATEVER = [
    5,
    -1.5,
    math.nan,
    10**400,
    True,
    "x",
    "x" * 5_000,
    "a\0b",
    b"x",
    [1],
    ("x",),
    {"a": 1},
    {1, 2},
    object(),
    int,
    len,
    Decimal("sNaN"),
    np.array([1, 2]),
    pd.NA,
    pd.Series([1]),
    pd.DataFrame({"name": ["x"]}),
    pl.DataFrame({"a": [1]}),
]


@pytest.mark.parametrize("name", [*inspect.signature(Pipeline).parameters])
def test_whatever_is_given_for_an_argument_is_taken_or_refused_as_a_configuration(
    asker: Asker, name: str
) -> None:
    data = pd.DataFrame({"text": ["a"], "n": [1]})
    beside: dict[str, Any] = {"schema": "a: int"}
    beside |= {"by": "n"} if name == "group_tokens" else {}
    beside |= {"examples": pd.DataFrame({"text": ["b"], "a": [1]})} if name == "shots" else {}
    given = {"data": data, "prompt": "{text}", "journal": asker.folder, **beside}
    taken = 0
    for value in WHATEVER:
        with suppress(ConfigurationError):
            Pipeline(**{**given, name: value})
            taken += 1
    assert taken < len(WHATEVER)


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (pd.DataFrame(), "no columns"),
        (pl.DataFrame(), "no columns"),
        (pd.DataFrame(index=[1, 2]), "no columns"),
        (pd.DataFrame([["a", "b"]], columns=["text", "text"]), "text"),
        (pd.DataFrame([["a", "b"]], columns=[1, "1"]), "'1'"),
        (pd.Series(["a"], name="text"), "to_frame"),
        (None, "None"),
        ([("a",)], "give dicts"),
    ],
)
def test_what_is_no_frame_is_told_in_one_line(asker: Asker, data: Any, word: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        asker.pipeline(data)
    assert word in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("option", ["batch", "executor", "chunk_size"])
def test_an_option_that_does_not_exist_is_no_silent_one(asker: Asker, option: str) -> None:
    with pytest.raises(ConfigurationError):
        asker.pipeline(texts(1), **{option: "x", "pack": 0})


def test_overwrite_puts_the_answers_in_place_of_the_old_column(asker: Asker) -> None:
    data = pd.DataFrame({"response": ["old", "old"], "text": ["a", "b"]})
    run = asker.run(data, overwrite=True)
    assert list(run.frame.columns) == ["response", "text"]
    assert list(run.frame["response"]) == echoes(data)
    assert list(data["response"]) == ["old", "old"]


@pytest.mark.parametrize(
    "empty", [pd.DataFrame({"text": []}, dtype="str"), pl.DataFrame(schema={"text": pl.String})]
)
@pytest.mark.parametrize("schema", [None, SCHEMA])
def test_an_empty_frame_gives_its_new_columns(asker: Asker, empty: Any, schema: str | None) -> None:
    """Typed as those of a full one, and nothing is sent."""
    run = asker.run(empty, schema=schema)
    full = asker.run(type(empty)({"text": ["a"]}), schema=schema)
    assert asker.server.arrived == 1
    assert run.state == "done"
    assert len(run.frame) == 0
    assert list(run.frame.columns) == list(full.frame.columns)
    new = list(full.frame.columns)[1:]
    assert [run.frame[name].dtype for name in new] == [full.frame[name].dtype for name in new]
    assert run.stats.total_rows == 0
    assert run.cost == 0


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame])
def test_a_frame_of_missing_cells_alone_is_skipped_whole(asker: Asker, make: Any) -> None:
    run = asker.run(make({"text": [None, None]}))
    assert asker.server.arrived == 0
    assert statuses(run) == ["skipped"] * 2
    assert run.state == "done"


NAMES = ["my text", "Ünïcode", "日本語", "a:b", "class", "it's", "50%", "a.b", "текст", "x-y", "🙂"]


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame])
def test_columns_of_any_name_are_named_in_braces(asker: Asker, make: Any) -> None:
    data = make({name: [f"{at}a", f"{at}b"] for at, name in enumerate(NAMES)})
    run = asker.run(data, " ".join(f"{{{name}}}" for name in NAMES), column="my answer: 🙂")
    asked = [" ".join(f"{at}{letter}" for at in range(len(NAMES))) for letter in "ab"]
    assert list(run.frame["my answer: 🙂"]) == [echo_of(prompt) for prompt in asked]


def test_braces_of_json_reach_the_model_as_they_are(asker: Asker) -> None:
    asker.run(pd.DataFrame({"text": ["{text} {{x}}"]}), 'As {"a": 1}, {{b}}: {text}')
    assert asker.server.requests[0].prompt == 'As {"a": 1}, {b}: {text} {{x}}'


def test_a_bad_key_sends_eight_requests_at_most_and_keeps_what_there_is(tmp_path: Path) -> None:
    with MessagesServer() as server:
        asker = Asker(server, tmp_path)
        asker.run(texts(5))
        server._key = "right"
        run = asker.run(texts(500), concurrency=100)
    assert server.arrived <= 5 + 8
    assert run.state == "failed"
    assert isinstance(run.error, FatalProviderError)
    assert "ANTHROPIC_API_KEY" in str(run.error)
    assert "\n" not in str(run.error)
    assert list(run.frame["response"][:5]) == echoes(texts(5))
    assert run.frame["response"][5:].isna().all()
    assert set(statuses(run)[5:]) == {"not_run"}
    assert run.context.metrics.message == str(run.error)


@pytest.mark.parametrize("fault", ["401", "402", "404", "429_spend"])
def test_what_no_row_can_pass_ends_the_run_at_once(tmp_path: Path, fault: str) -> None:
    """Even in mid-run, with what is finished kept and what is in flight journaled."""

    def plan(body: Any, _attempt: int) -> str | None:
        return fault if body["messages"][0]["content"] == "Tell: text 40" else None

    with MessagesServer(plan=plan, latency=(0, 0.01)) as server:
        asker = Asker(server, tmp_path)
        run = asker.run(texts(200), concurrency=10)
        assert isinstance(run.error, FatalProviderError)
        assert run.state == "failed"
        assert server.arrived < 100
        answered = statuses(run).count("answered")
        assert answered == run.frame["response"].notna().sum() == server.ledger.requests
        assert run.errors.empty
        server._plan = None
        again = asker.run(texts(200), concurrency=10)
    assert journaled(again) == answered
    assert server.ledger.requests == 200


def test_no_server_at_the_base_url_is_one_clear_line(tmp_path: Path) -> None:
    pipeline = Pipeline(texts(50), "Tell: {text}", base_url="http://127.0.0.1:9", journal=tmp_path)
    with pytest.raises(FatalProviderError) as caught:
        pipeline.execute()
    assert str(caught.value) == (
        "no server answers at http://127.0.0.1:9. Is it running, and is --base-url right?"
    )


def test_execute_tells_what_failed_and_what_it_cost(tmp_path: Path) -> None:
    """Who has only the result of `execute()` finds failures and costs in it."""
    with MessagesServer(plan=lambda b, _: "refusal" if "text 1" in str(b) else None) as server:
        result = Asker(server, tmp_path).pipeline(texts(3)).execute()
    assert [(failure.row, failure.error_type) for failure in result.errors] == [(1, "RefusalError")]
    assert result.costs.total_cost == server.ledger.cost(*HAIKU)
    assert result.success
    assert result.is_complete
    assert (result.metrics.processed_rows, result.metrics.failed_rows) == (2, 1)


def test_an_unknown_price_is_unknown_not_zero(asker: Asker) -> None:
    result = asker.pipeline(texts(2), model="my-model").execute()
    run = asker.run(texts(3), model="my-model")
    assert result.costs.total_cost is None
    assert run.cost is None
    assert run.rows["cost"].isna().all()
    assert result.costs.input_tokens > 0
    assert asker.pipeline(texts(4), model="my-model").estimate().total_cost is None


def test_a_given_price_is_the_price(asker: Asker) -> None:
    run = asker.run(texts(3), model="my-model", price_in="3", price_out="15.5", budget=1)
    assert run.cost == asker.server.ledger.cost("3", "15.5")


async def test_execute_works_inside_a_running_loop(asker: Asker) -> None:
    result = asker.pipeline(texts(5)).execute()
    assert list(result.data["response"]) == echoes(texts(5))


async def test_execute_async_and_start_give_the_same(asker: Asker) -> None:
    first = await asker.pipeline(texts(5)).execute_async()
    run = asker.pipeline(texts(5)).start()
    second = await run
    assert run.result is second
    pd.testing.assert_frame_equal(first.data, second.data)
    assert asker.server.arrived == 5


@pytest.mark.parametrize("n", [0, -1, 1.5, "many", True])
def test_a_preview_of_no_number_of_rows_is_refused_in_one_line(asker: Asker, n: Any) -> None:
    with pytest.raises(ConfigurationError, match=rf"^n is {n}: it has to be a whole number of 1"):
        asker.pipeline(texts(3)).preview(n)


def test_a_preview_pays_for_its_rows_once(asker: Asker) -> None:
    pipeline = asker.pipeline(texts(50))
    shown = pipeline.preview(4)
    assert len(shown) == asker.server.arrived == 4
    assert list(shown["response"]) == echoes(shown)
    pipeline.execute()
    assert asker.server.arrived == 50


def test_a_sample_is_the_same_each_time(asker: Asker) -> None:
    run = asker.run(texts(100), sample=7)
    assert len(run.frame) == 7
    assert list(run.frame["response"]) == echoes(run.frame)
    assert list(asker.run(texts(100), sample=7).frame.index) == list(run.frame.index)
    assert asker.server.arrived == 7


def test_a_frame_changed_during_the_run_shifts_no_row(tmp_path: Path) -> None:
    """Later cells may do to the input what they like."""
    data = texts(300)
    expected = echoes(data)

    def answer(body: Any) -> str:
        data["text"] = data["text"].to_numpy()[::-1]
        return echo_of(body["messages"][0]["content"])

    with MessagesServer(answer=answer) as server:
        run = Asker(server, tmp_path).run(data, concurrency=5)
    assert list(run.frame["response"]) == expected


def test_a_cell_that_cannot_be_rendered_fails_its_row_alone(asker: Asker) -> None:
    class Odd:
        def __str__(self) -> str:
            raise RuntimeError("no text for you")

    run = asker.run(pd.DataFrame({"text": ["a", Odd(), "c"]}, dtype=object))
    assert statuses(run) == ["answered", "failed", "answered"]
    assert list(run.errors["message"]) == ["no text for you"]
    assert list(run.errors["stage"]) == ["prompt"]


def test_the_same_pipeline_runs_twice(asker: Asker) -> None:
    pipeline = asker.pipeline(texts(5))
    assert pipeline.execute().costs.total_cost > 0
    assert pipeline.execute().costs.total_cost == Decimal(0)
    assert asker.server.arrived == 5


def test_a_usage_that_cant_be_counts_nowhere_as_if_it_were_one(home: Path) -> None:
    """Not when it comes, not in the journal's savings, not in the next estimate."""
    absurd = {"input_tokens": 50, "output_tokens": 800_000_000}
    with MessagesServer(usage=lambda *_: absurd) as server:
        asker = Asker(server, home)
        first = asker.run(texts(3), budget=1)
        assert first.stats.failed_rows == 0
        assert first.cost == 0
        assert first.costs.output_tokens == 0
        assert 0 < first.context.metrics.possibly_billed < Decimal("0.01")
        asker.end_process()
        again = asker.run(texts(3))
        assert again.context.metrics.saved == 0
        estimate = asker.pipeline(texts(5)).estimate()
        assert estimate.output_tokens <= 5 * 1024
        resumed = Pipeline.resume(first.id, texts(3), journal=home)
        assert resumed.costs.output_tokens == 0
