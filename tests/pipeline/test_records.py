"""Going on with a recorded run: the same settings, the same frame, and money that stays spent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pydantic
import pytest

from ondine_nb import Pipeline, Run
from ondine_nb.errors import CheckpointError, ConfigurationError
from ondine_nb.orchestration import ExecutionContext, PipelineStage
from tests.asking import Asker, echoes, ended, journaled, statuses, texts
from tests.patience import PATIENCE
from tests.server import MessagesServer


@pytest.fixture
def asker(server: MessagesServer, home: Path) -> Asker:
    return Asker(server, home)


def stopped_at(asker: Asker, data: Any, n: int, **options: Any) -> Run:
    """A run that is stopped when `n` rows are done, and whose process ends then."""
    run = Run(asker.pipeline(data, concurrency=2, **options), name="labeled")

    async def main() -> None:
        run.start()
        async with asyncio.timeout(PATIENCE):
            while run.context.done_rows < n:
                await asyncio.sleep(0.001)
        run.stop()
        over = asyncio.Event()
        run.when_over(lambda _: over.set())
        await over.wait()
        await asyncio.sleep(0.05)

    asyncio.run(main())
    asker.end_process()
    return run


@pytest.mark.parametrize("by", ["id", "name", "run name", "session"])
def test_a_stopped_run_goes_on_by_its_id_or_its_name(asker: Asker, by: str) -> None:
    data = texts(30)
    first = stopped_at(asker, data, 10)
    name = {
        "id": first.id,
        "name": "labeled",
        "run name": "labeled_run",
        "session": str(first.context.session_id),
    }[by]
    asked = asker.server.ledger.requests
    run = Pipeline.resume(name, data, journal=asker.folder)
    result = run.execute()
    assert list(result.data["response"]) == echoes(data)
    assert (run.id, run.name, run.state) == (first.id, "labeled", "done")
    assert asker.server.ledger.requests == 30
    assert journaled(run) == asked
    assert statuses(run).count("journal") == asked


def test_settings_are_those_of_the_record(asker: Asker) -> None:
    data = pl.DataFrame({"text": ["a", "b", "c"], "n": [1, 2, 3]})
    options = {
        "schema": "mood: good|bad, score: float?",
        "system": "Be brief.",
        "params": {"tone": "kind", "strict": 3},
        "budget": Decimal("0.5"),
        "max_tokens": 200,
        "effort": "low",
        "concurrency": 3,
        "timeout": 5,
        "sample": 2,
    }
    prompt = "{tone} {strict}: {text}"
    first = asker.run(data, prompt, **options)
    asker.end_process()
    run = Pipeline.resume(first.id, data, journal=asker.folder)
    assert vars(run.pipeline.options) == vars(first.pipeline.options) | {
        "params": {"tone": "kind", "strict": "3"}
    }
    result = run.execute()
    assert asker.server.ledger.requests == 2
    assert result.data.schema == first.frame.schema
    assert result.data.equals(first.frame)


class Mood(pydantic.BaseModel):
    mood: str
    score: float | None = None


@pytest.mark.parametrize(
    "schema",
    [
        Mood,
        {"type": "object", "properties": {"b": {"type": "string"}, "a": {"type": "integer"}}},
        "when: date, tags: list[str]",
    ],
)
def test_every_kind_of_schema_asks_the_same_again(asker: Asker, schema: Any) -> None:
    data = texts(4)
    first = asker.run(data, schema=schema)
    asker.end_process()
    run = Pipeline.resume(first.id, data, journal=asker.folder)
    run.execute()
    assert statuses(run) == ["journal"] * 4
    pd.testing.assert_frame_equal(run.frame, first.frame)


def test_a_fresh_run_goes_on_without_asking_its_own_rows_again(asker: Asker) -> None:
    data = texts(20)
    asker.run(data)
    first = stopped_at(asker, data, 5, fresh=True)
    asked = asker.server.ledger.requests
    run = Pipeline.resume(first.id, data, journal=asker.folder)
    run.execute()
    assert asker.server.ledger.requests == 40
    assert statuses(run).count("journal") == asked - 20


def test_what_was_spent_stays_spent(asker: Asker) -> None:
    data = texts(40)
    whole = asker.run(data, "Cost: {text}", max_tokens=20)
    assert whole.cost is not None
    budget = whole.cost  # enough for the answers, not for the worst case of the last ones
    first = stopped_at(asker, data, 10, budget=budget, max_tokens=20)
    spent = first.cost
    assert spent
    run = Pipeline.resume(first.id, data, journal=asker.folder)
    assert (run.cost, run.costs.input_tokens) == (spent, first.costs.input_tokens)
    result = run.execute()
    assert run.state == "stopped"
    assert result.costs.total_cost == run.plan.budget.spent
    billed = asker.server.ledger.cost(*HAIKU_A_TOKEN) - whole.cost
    assert billed == run.cost <= budget


HAIKU_A_TOKEN = (Decimal("0.10"), Decimal("0.50"))


def test_a_budget_can_be_raised(asker: Asker) -> None:
    data = texts(20)
    first = asker.run(data, budget=Decimal("0.0006"), concurrency=1)
    assert first.state == "stopped"
    run = Pipeline.resume(first.id, data, journal=asker.folder, budget=1)
    assert run.execute().success
    assert run.cost is not None
    assert first.cost is not None
    assert run.cost > first.cost


BAD_FRAMES = {
    "rows": (texts(9), "has 9 rows, the run had 10"),
    "values": (texts(10, start=1), "column 'text' has other values"),
    "column": (texts(10).rename(columns={"text": "txt"}), "{text}"),
    "order": (texts(10).iloc[::-1], "column 'text' has other values"),
}


@pytest.mark.parametrize("case", BAD_FRAMES)
def test_other_data_is_refused_and_it_says_what_differs(asker: Asker, case: str) -> None:
    first = asker.run(texts(10))
    data, told = BAD_FRAMES[case]
    with pytest.raises(ConfigurationError) as caught:
        Pipeline.resume(first.id, data, journal=asker.folder, name="reviews")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_columns_that_the_prompt_does_not_read_may_differ(asker: Asker) -> None:
    first = asker.run(texts(5))
    run = Pipeline.resume(first.id, texts(5).assign(more=1), journal=asker.folder)
    assert list(run.execute().data["more"]) == [1] * 5


def test_another_provider_is_refused(asker: Asker) -> None:
    first = asker.run(texts(3))
    record = next((asker.folder / "runs").glob("*.json"))
    stored = json.loads(record.read_text())
    stored["data"]["settings"]["provider"] = "anthropic"
    record.write_text(json.dumps(stored))
    with pytest.raises(ConfigurationError, match="the run asked anthropic, and here"):
        Pipeline.resume(first.id, texts(3), journal=asker.folder)


def test_an_option_that_decides_answers_may_be_replaced(asker: Asker) -> None:
    first = asker.run(texts(3))
    run = Pipeline.resume(first.id, texts(3), journal=asker.folder, system="Be kind.")
    run.execute()
    assert asker.server.ledger.requests == 6


@pytest.mark.parametrize("name", ["labelled", "0123456789ab", ""])
def test_a_run_that_is_not_recorded_is_told_with_the_nearest_name(asker: Asker, name: str) -> None:
    asker.run(texts(3))
    Run(asker.pipeline(texts(3)), name="labeled").execute()
    with pytest.raises(ConfigurationError, match=r"no run '.*' is recorded"):
        Pipeline.resume(name, texts(3), journal=asker.folder)


def test_a_damaged_record_is_told_not_passed_over(asker: Asker) -> None:
    first = asker.run(texts(3))
    record = next((asker.folder / "runs").glob("*.json"))
    record.write_text(record.read_text()[:100])
    with pytest.raises((CheckpointError, ConfigurationError)):
        Pipeline.resume(first.id, texts(3), journal=asker.folder)


def test_a_record_holds_no_rows_and_no_key(asker: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-secret-123")
    url = asker.server.url.replace("http://", "http://user:pass123@")
    asker.run(pd.DataFrame({"text": ["my own words"]}), base_url=url)
    text = "".join(path.read_text() for path in (asker.folder / "runs").iterdir())
    assert "Tell: {text}" in text
    assert not any(secret in text for secret in ("secret", "pass123", "my own words"))


class Upper(PipelineStage):
    def process(self, input_data: Any, context: ExecutionContext) -> Any:
        return input_data.assign(upper=input_data["response"].str.upper())


def test_stages_of_the_users_own_are_given_again(asker: Asker) -> None:
    first = asker.run(texts(3), stages=[Upper("upper")])
    with pytest.raises(ConfigurationError, match=r"stages of its own: upper\. Give the same"):
        Pipeline.resume(first.id, texts(3), journal=asker.folder)
    run = Pipeline.resume(first.id, texts(3), journal=asker.folder, stages=[Upper("upper")])
    assert "upper" in run.execute().data


async def test_a_resumed_run_is_awaited_like_any_other(asker: Asker) -> None:
    run = Run(asker.pipeline(texts(3)))
    await ended(run)
    again = await asyncio.to_thread(Pipeline.resume, run.id, texts(3), journal=asker.folder)
    result = await again
    assert result.success
    assert (await Pipeline.resume(run.id, texts(3), journal=asker.folder).execute_async()).success


def test_a_streamed_run_goes_on_too(asker: Asker, tmp_path: Path) -> None:
    def rows() -> Iterator[dict[str, str]]:
        for n in range(10):
            yield {"text": f"text {n}"}

    first = asker.run(rows(), chunk_size=4)
    run = Pipeline.resume(first.id, rows(), journal=asker.folder)
    assert len(run.execute().data) == 10
    assert asker.server.ledger.requests == 10
    assert run.pipeline.options.chunk_size == 4
