"""Asking: the journal first, equal questions once, every attempt counted, every cent held."""

from __future__ import annotations

import asyncio
import gc
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ondine_nb.errors import (
    ConfigurationError,
    ConnectionLostError,
    FatalProviderError,
    ForbiddenError,
    JournalError,
    MalformedAnswerError,
    OverloadedError,
    RefusalError,
    RejectedRequestError,
    SchemaNotMetError,
)
from ondine_nb.journal.entries import Entry
from ondine_nb.journal.journal import Journal
from ondine_nb.models import Prompt
from ondine_nb.orchestration import AskAgain, ExecutionContext, Row, RowStage
from ondine_nb.orchestration.window import Window
from ondine_nb.providers import FREE, Answer, ModelPrice, Reply, Settings
from ondine_nb.providers.pricing import Rate
from ondine_nb.sending.budget import Budget
from ondine_nb.sending.question import Question, question_key
from ondine_nb.sending.retry import Backoff
from ondine_nb.stages import InvokeStage
from tests.asking import asking
from tests.orchestration.parts import arriving
from tests.patience import PATIENCE

D = Decimal
# A dollar a million tokens in, two out: an answer of 10 and 5 tokens costs 20 micro-dollars.
PRICE = ModelPrice(Rate(D(1)), Rate(D(2)), Rate(D(1)), Rate(D(1)))
EACH = D("0.00002")
Script = Callable[[str, int], Any]


def body(text: str, **changes: Any) -> bytes:
    usage = {"input_tokens": 10, "output_tokens": 5}
    whole = {"content": [{"type": "text", "text": text}], "stop_reason": "end_turn"}
    return json.dumps({**whole, "usage": usage, **changes}).encode()


class Scripted:
    """A provider that answers `text of prompt` unless `script(prompt, attempt)` says otherwise.

    What the script gives is raised if it is an error, sent back if it is bytes.
    """

    identity = "scripted"
    model = "m"
    note = ""

    def __init__(self, script: Script = lambda prompt, attempt: None, price: Any = PRICE) -> None:
        self.script, self.price = script, price
        self.sent: list[str] = []
        self.now = self.peak = self.opened = self.closed = 0

    async def open(self, settings: Settings, concurrency: int) -> None:
        self.opened += 1

    async def close(self) -> None:
        self.closed += 1

    async def send(self, prompt: str) -> Reply:
        self.sent.append(prompt)
        self.now += 1
        self.peak = max(self.peak, self.now)
        try:
            await asyncio.sleep(0)
            said = self.script(prompt, self.sent.count(prompt))
            said = await said if asyncio.iscoroutine(said) else said
        finally:
            self.now -= 1
        if isinstance(said, BaseException):
            raise said
        return Reply(body(f"text of {prompt}") if said is None else said, latency=0.5)

    async def count_tokens(self, prompt: str) -> int | None:
        return None

    def request_bytes(self, prompt: str) -> int:
        return 10


class Prompts(RowStage):
    columns = ()

    async def prepare(self, rows: Sequence[Row], context: ExecutionContext) -> None:
        for row in rows:
            row.prompt = Prompt(row.values[0])


class Asked:
    """What a run over some prompts was."""

    def __init__(self, rows: list[Row], context: ExecutionContext, stage: InvokeStage) -> None:
        self.rows, self.context, self.stage = rows, context, stage

    @property
    def statuses(self) -> list[str]:
        return [row.status for row in self.rows]

    def failures(self) -> set[tuple[str, str]]:
        return {(row.failure.error_type, row.failure.message) for row in self.rows if row.failure}


class Keep(RowStage):
    """Keeps the answer's text, after whatever `check` does with the row."""

    def __init__(self, asker: InvokeStage, check: Callable[[Row, InvokeStage], None]) -> None:
        super().__init__("keep")
        self.asker, self.check = asker, check

    async def process_row(self, row: Row, context: ExecutionContext) -> None:
        self.check(row, self.asker)
        row.outputs = {"text": row.answer.text}


class Runs:
    """Runs in one journal folder, one after another."""

    def __init__(self, folder: Path) -> None:
        self.journal = Journal(folder)
        self.count = 0

    def ask(
        self,
        provider: Scripted,
        *chunks: Sequence[str],
        settings: Settings | None = None,
        budget: Budget | None = None,
        width: int = 4,
        check: Callable[[Row, InvokeStage], None] = lambda row, asker: None,
        **given: Any,
    ) -> Asked:
        self.count += 1
        options = {"backoff": Backoff(attempts=3, base=0.0), "run_id": f"run{self.count}", **given}
        stage = asking(
            provider,
            settings or Settings(model="m", max_tokens=100),
            journal=self.journal,
            budget=budget,
            concurrency=width,
            **options,
        )
        prompts = [prompt for chunk in chunks for prompt in chunk]
        rows = [Row(at, (prompt,), {"p": 0}) for at, prompt in enumerate(prompts)]
        context = ExecutionContext(total_rows=len(rows))
        starts = [sum(map(len, chunks[:at])) for at in range(len(chunks))]

        def parts() -> Iterator[list[Row]]:
            for start, chunk in zip(starts, chunks, strict=True):
                gc.collect()  # a chunk must not rest on what garbage of the last one is left
                yield rows[start : start + len(chunk)]

        async def main() -> None:
            async with asyncio.timeout(PATIENCE):
                window = Window([Prompts(), stage, Keep(stage, check)], context, width)
                await window.run(arriving(parts()))
                await context.control.drained()

        gc.freeze()  # of a whole suite's objects a collection takes half a second
        try:
            asyncio.run(main())
        finally:
            gc.unfreeze()
        return Asked(rows, context, stage)


@pytest.fixture
def runs(home: Path) -> Any:
    running = Runs(home)
    yield running
    running.journal.close()


def kept(asked: Asked) -> list[str | None]:
    return [row.outputs["text"] if row.outputs else None for row in asked.rows]


# --- one run


def test_an_answer_is_paid_counted_and_the_rows_own(runs: Runs) -> None:
    provider = Scripted()
    asked = runs.ask(provider, ["a", "b", "c"])
    assert kept(asked) == ["text of a", "text of b", "text of c"]
    assert asked.statuses == ["answered"] * 3
    context = asked.context
    assert (context.accumulated_cost, context.accumulated_tokens) == (3 * EACH, 45)
    assert (context.usage.input_tokens, context.usage.output_tokens) == (30, 15)
    assert context.stage_costs == {"invoke": 3 * EACH}
    metrics = context.metrics
    assert (metrics.requests, metrics.retries, metrics.in_flight) == (3, 0, 0)
    for row in asked.rows:
        assert (row.cost, row.usage.total_tokens, row.attempts, row.latency) == (EACH, 15, 1, 0.5)
    assert (provider.opened, provider.closed) == (1, 1)


def test_running_again_takes_all_from_the_journal_and_connects_to_nobody(runs: Runs) -> None:
    runs.ask(Scripted(), ["a", "b"])
    provider = Scripted()
    again = runs.ask(provider, ["a", "b", "a"])
    assert (provider.sent, provider.opened, provider.closed) == ([], 0, 0)
    assert again.statuses == ["journal"] * 3
    assert kept(again) == ["text of a", "text of b", "text of a"]
    context = again.context
    assert (context.accumulated_cost, context.metrics.saved) == (0, 3 * EACH)
    assert (context.journal_rows, context.metrics.requests) == (3, 0)


@pytest.mark.parametrize("chunks", [(["a"] * 5 + ["b"],), (["a", "b"], ["a"], ["b", "a", "a"])])
def test_equal_prompts_are_sent_once_also_across_chunks(
    runs: Runs, chunks: tuple[list[str], ...]
) -> None:
    provider = Scripted()
    asked = runs.ask(provider, *chunks)
    assert sorted(provider.sent) == ["a", "b"]
    assert kept(asked) == [f"text of {prompt}" for chunk in chunks for prompt in chunk]
    assert asked.statuses == ["answered"] * 6
    assert asked.context.metrics.duplicates == 4
    assert asked.context.accumulated_cost == 2 * EACH


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("chunks", [(["a"] * 6,), (["a"] * 2, ["a"] * 2, ["a"] * 2)])
def test_equal_prompts_are_sent_once_also_when_the_first_fails(
    runs: Runs, chunks: tuple[list[str], ...], fresh: bool
) -> None:
    for error in (RejectedRequestError("too long"), OverloadedError("busy")):
        # A new one each time: a kept error would keep the frames it went through alive.
        kind, text = type(error), str(error)
        provider = Scripted(lambda prompt, attempt, kind=kind, text=text: kind(text))
        asked = runs.ask(provider, *chunks, width=1, fresh=fresh)
        assert len(provider.sent) == (1 if isinstance(error, RejectedRequestError) else 3)
        assert asked.statuses == ["failed"] * 6
        assert asked.failures() == {(type(error).__name__, str(error))}


def test_of_finished_rows_only_failed_questions_are_kept(runs: Runs) -> None:
    too_long = "x"
    provider = Scripted(
        lambda prompt, attempt: RejectedRequestError("too long") if prompt == too_long else None
    )
    asked = runs.ask(provider, ["a", "b", "a"], [too_long, "c"], ["c", "d"])
    assert list(asked.stage._questions) == [asked.stage.lookup.key(Prompt(too_long))]


def test_a_paid_answer_that_cant_be_used_isnt_bought_again_either(runs: Runs) -> None:
    refuses = Scripted(lambda prompt, attempt: body("", stop_reason="refusal"))
    assert runs.ask(refuses, ["a", "a"], ["a"]).statuses == ["failed"] * 3
    again = Scripted()
    asked = runs.ask(again, ["a"])
    assert (refuses.sent, again.sent) == (["a"], [])
    assert {kind for kind, _ in asked.failures()} == {RefusalError.__name__}


def test_an_unpaid_failure_is_sent_again_by_the_next_run(runs: Runs) -> None:
    runs.ask(Scripted(lambda prompt, attempt: RejectedRequestError("x")), ["a"])
    assert runs.ask(Scripted(), ["a"]).statuses == ["answered"]


def test_fresh_asks_all_anew_and_makes_the_old_answers_void(runs: Runs) -> None:
    runs.ask(Scripted(lambda prompt, attempt: body("old")), ["a", "b"])
    fresh = Scripted(lambda prompt, attempt: body("new"))
    asked = runs.ask(fresh, ["a"], ["a", "b"], fresh=True)
    assert sorted(fresh.sent) == ["a", "b"]
    assert kept(asked) == ["new"] * 3
    later = Scripted()
    assert kept(runs.ask(later, ["a", "b"])) == ["new", "new"]
    assert later.sent == []


def test_a_larger_max_tokens_sends_only_the_rows_that_were_cut(runs: Runs) -> None:
    small, large = (Settings(model="m", max_tokens=most) for most in (10, 20))
    cut = body("half", stop_reason="max_tokens")
    first = Scripted(lambda prompt, attempt: cut if prompt == "cut" else None)
    assert runs.ask(first, ["whole", "cut"], settings=small).statuses == ["answered", "failed"]
    same = Scripted()
    assert runs.ask(same, ["whole", "cut"], settings=small).statuses == ["journal", "failed"]
    assert same.sent == []
    larger = Scripted()
    asked = runs.ask(larger, ["whole", "cut"], settings=large)
    assert (larger.sent, asked.statuses) == (["cut"], ["journal", "answered"])
    back = Scripted()
    assert runs.ask(back, ["whole", "cut"], settings=small).statuses == ["journal"] * 2
    assert back.sent == []


@pytest.mark.parametrize(
    "changed",
    [{"model": "n"}, {"system": "s"}, {"schema": {}}, {"effort": "low"}, {"thinking": "auto"}],
    ids=str,
)
def test_whatever_decides_an_answer_is_in_its_key(runs: Runs, changed: dict[str, Any]) -> None:
    settings = Settings(model="m")
    base, other = question_key("p", settings), question_key("p", replace(settings, **changed))
    assert base.digest() != other.digest()
    assert base.digest() != question_key("q", settings).digest()
    assert base.digest() == question_key("p", replace(settings, max_tokens=9, timeout=1)).digest()


def test_the_order_of_a_schemas_fields_is_in_the_key() -> None:
    one, other = {"a": 1, "b": 2}, {"b": 2, "a": 1}
    keys = {question_key("p", Settings("m", schema=each)).digest() for each in (one, other)}
    assert len(keys) == 2


# --- retries


def test_a_transient_failure_is_sent_again_and_every_attempt_counted(runs: Runs) -> None:
    flaky = Scripted(lambda prompt, attempt: OverloadedError("busy") if attempt < 3 else None)
    asked = runs.ask(flaky, ["a"])
    assert (asked.statuses, asked.rows[0].attempts) == (["answered"], 3)
    assert (asked.context.metrics.requests, asked.context.metrics.retries) == (3, 2)
    assert asked.context.accumulated_cost == EACH


def test_attempts_end_and_then_it_is_the_rows_failure(runs: Runs) -> None:
    asked = runs.ask(Scripted(lambda prompt, attempt: OverloadedError("busy")), ["a", "b"])
    assert asked.statuses == ["failed"] * 2
    assert [row.failure.attempts for row in asked.rows if row.failure] == [3, 3]
    assert asked.context.metrics.possibly_billed == 0


def test_an_unreadable_body_is_kept_retried_and_held_as_possibly_billed(runs: Runs) -> None:
    budget = Budget(D(1))
    garbled = Scripted(lambda prompt, attempt: b"<html>" if attempt == 1 else None)
    asked = runs.ask(garbled, ["a"], budget=budget)
    assert asked.statuses == ["answered"]
    worst = PRICE.ceiling(10, 100)
    assert (budget.possibly_billed, asked.context.metrics.possibly_billed) == (worst, worst)
    assert budget.spent == EACH
    runs.journal.close()
    assert [bytes_ for _, bytes_ in rows_on_disk(runs)] == [b"<html>", body("text of a")]


def rows_on_disk(runs: Runs) -> list[tuple[int, bytes]]:
    import sqlite3
    import zlib

    (path,) = runs.journal.folder.glob("live-*.db")
    with sqlite3.connect(path) as file:
        rows = file.execute("SELECT readable, body FROM answers ORDER BY n").fetchall()
    file.close()
    return [(readable, zlib.decompress(packed)) for readable, packed in rows]


def test_a_body_that_stays_unreadable_is_the_rows_failure(runs: Runs) -> None:
    asked = runs.ask(Scripted(lambda prompt, attempt: b"<html>"), ["a"])
    assert {kind for kind, _ in asked.failures()} == {MalformedAnswerError.__name__}
    assert len(runs.ask(provider := Scripted(), ["a"]).failures()) == 0
    assert provider.sent == ["a"]


@pytest.mark.parametrize("billed", [True, False])
def test_a_lost_answer_stays_charged_only_where_it_may_have_been_billed(
    runs: Runs, billed: bool
) -> None:
    budget = Budget(D(1))
    lost = ConnectionLostError("cut", possibly_billed=billed)
    runs.ask(Scripted(lambda prompt, attempt: lost), ["a"], budget=budget)
    assert budget.possibly_billed == (3 * PRICE.ceiling(10, 100) if billed else 0)
    assert (budget.reserved, budget.spent) == (0, 0)


def test_an_unreachable_server_ends_the_run_after_three_tries(runs: Runs) -> None:
    nobody = Scripted(lambda prompt, attempt: ConnectionLostError("nobody", unreachable=True))
    asked = runs.ask(nobody, ["a", "b"], width=1, backoff=Backoff(attempts=8, base=0.0))
    assert nobody.sent == ["a"] * 3
    assert isinstance(asked.context.control.error, FatalProviderError)
    assert asked.statuses == ["not_run"] * 2


def test_a_server_that_answered_once_may_be_away_for_longer(runs: Runs) -> None:
    gone = ConnectionLostError("nobody", unreachable=True)
    away = Scripted(lambda prompt, attempt: gone if prompt == "b" and attempt < 6 else None)
    asked = runs.ask(away, ["a", "b"], width=1, backoff=Backoff(attempts=8, base=0.0))
    assert asked.statuses == ["answered"] * 2


def test_20_equal_rejections_before_any_success_end_the_run(runs: Runs) -> None:
    refuses = Scripted(lambda prompt, attempt: RejectedRequestError("bad parameter"))
    asked = runs.ask(refuses, [str(n) for n in range(100)], width=1)
    assert len(refuses.sent) == 20
    error = asked.context.control.error
    assert isinstance(error, FatalProviderError)
    assert "first 20 requests were all rejected alike: bad parameter" in str(error)
    assert asked.statuses == ["failed"] * 19 + ["not_run"] * 81


def test_20_equal_rejections_in_a_row_end_the_run_wherever_they_come(runs: Runs) -> None:
    late = Scripted(lambda prompt, attempt: None if int(prompt) < 30 else RejectedRequestError("x"))
    asked = runs.ask(late, [str(n) for n in range(100)], width=1)
    assert len(late.sent) == 50
    error = asked.context.control.error
    assert isinstance(error, FatalProviderError)
    assert str(error) == "20 requests in a row were all rejected alike: x"
    assert asked.statuses == ["answered"] * 30 + ["failed"] * 19 + ["not_run"] * 51


@pytest.mark.parametrize(
    "script",
    [
        lambda prompt, attempt: RejectedRequestError(f"row {prompt} too long"),
        lambda prompt, attempt: RejectedRequestError("x") if int(prompt) % 20 else None,
    ],
    ids=["of different kinds", "with a success among every twenty"],
)
def test_other_rejections_are_the_rows(runs: Runs, script: Script) -> None:
    asked = runs.ask(Scripted(script), [str(n) for n in range(60)], width=1)
    assert asked.context.control.error is None
    assert asked.context.done_rows == 60


def test_a_fatal_error_ends_the_run_and_sends_no_more(runs: Runs) -> None:
    script: Script = lambda prompt, attempt: (  # noqa: E731
        FatalProviderError("bad key") if prompt == "1" else None
    )
    provider = Scripted(script)
    asked = runs.ask(provider, [str(n) for n in range(50)], width=1)
    assert provider.sent == ["0", "1"]
    assert asked.statuses == ["answered"] + ["not_run"] * 49
    assert asked.context.metrics.message == "bad key"


def test_a_provider_that_cant_open_ends_the_run_instead_of_failing_every_row(runs: Runs) -> None:
    class Closed(Scripted):
        async def open(self, settings: Settings, concurrency: int) -> None:
            raise ConfigurationError("no model here")

    asked = runs.ask(Closed(), [str(n) for n in range(50)])
    assert isinstance(asked.context.control.error, ConfigurationError)
    assert set(asked.statuses) == {"not_run"}


# --- re-asking


def picky(times: int) -> Callable[[Row, InvokeStage], None]:
    """A check that a row passes after being asked again so often."""

    def check(row: Row, asker: InvokeStage) -> None:
        if row.reasks < times:
            row.reasks += 1
            raise AskAgain(asker, SchemaNotMetError("no"))

    return check


def test_asking_again_is_paid_counted_and_found_in_the_journal(runs: Runs) -> None:
    provider = Scripted(lambda prompt, attempt: body(f"{prompt}{attempt}"))
    asked = runs.ask(provider, ["a", "a"], check=picky(2))
    assert kept(asked) == ["a3", "a3"]
    assert provider.sent == ["a"] * 3
    assert asked.context.accumulated_cost == 3 * EACH
    assert sum(row.cost for row in asked.rows) == 3 * EACH
    assert asked.statuses == ["answered"] * 2
    again = Scripted()
    assert kept(runs.ask(again, ["a"], check=picky(2))) == ["a3"]
    assert again.sent == []
    more = Scripted(lambda prompt, attempt: body("four"))
    asked = runs.ask(more, ["a"], check=picky(3))
    assert (kept(asked), more.sent, asked.statuses) == (["four"], ["a"], ["answered"])


def next_run_with_equal_rows(runs: Runs) -> tuple[Any, Row, Row]:
    """The stage of a run behind one that was answered, and two rows that ask the same again."""
    runs.ask(Scripted(), ["a"])
    settings = Settings(model="m", max_tokens=100)
    stage = asking(Scripted(), settings, journal=runs.journal, run_id="next", concurrency=1)
    first, second = (Row(at, ("a",), {"p": 0}) for at in range(2))
    first.prompt = second.prompt = Prompt("a")
    return stage, first, second


def test_a_look_into_the_journal_that_failed_is_done_again_by_the_next_equal_row(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by the simulator: the question stayed known as one without an answer, and was paid."""
    stage, first, second = next_run_with_equal_rows(runs)

    async def fails(*_: Any, **__: Any) -> None:
        raise JournalError("disk I/O error")

    async def main() -> None:
        with monkeypatch.context() as patched:
            patched.setattr(runs.journal, "lookup", fails)
            with pytest.raises(JournalError):
                await stage.meet([first])
        (new,) = await stage.meet([second])
        assert [answer.text for answer in new[0].answers] == ["text of a"]

    asyncio.run(main())


@pytest.mark.parametrize("given_up", [False, True])
def test_an_equal_row_that_is_met_meanwhile_waits_for_the_look_into_the_journal(
    given_up: bool, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It found the question known and without an answer, and would have had it paid again."""
    stage, first, second = next_run_with_equal_rows(runs)
    lookup, asked = runs.journal.lookup, list[Any]()

    async def main() -> None:
        on = asyncio.Event()

        async def slow(keys: Sequence[bytes], *given: Any, **more: Any) -> Any:
            asked.append(keys)
            await on.wait()
            return await lookup(keys, *given, **more)

        monkeypatch.setattr(runs.journal, "lookup", slow)
        meeting = [asyncio.create_task(stage.meet([row])) for row in (first, second)]
        while not asked or second.question is None:
            await asyncio.sleep(0)
        if given_up:
            meeting[0].cancel()
        on.set()
        came = await asyncio.gather(*meeting, return_exceptions=True)
        new = [] if isinstance(came[0], BaseException) else came[0]
        assert [question for question, _ in [*new, *came[1]]] == [second.question]
        assert [answer.text for answer in second.question.answers] == ["text of a"]

    asyncio.run(main())
    assert len(asked) == 1 + given_up


def test_a_run_keeps_its_answers_where_a_fresh_run_beside_it_makes_them_void(runs: Runs) -> None:
    """Found by the simulator: a row that was asked for the third time got no outcome at all.

    Nor does it pay for what the other has been given meanwhile.
    """
    asks = Settings(model="m", max_tokens=100)
    stage = asking(Scripted(), asks, journal=runs.journal, run_id="one", concurrency=1)
    question = Question(stage.lookup.key(Prompt("a")))
    question.answers = [Answer.read(body("first")), Answer.read(body("second"))]
    runs.ask(Scripted(), ["a"], run_id="beside", fresh=True)
    for _ in range(2):  # what the other has been given comes behind them, once
        asyncio.run(stage.lookup.recall([question]))
        assert [each.text for each in question.answers] == ["first", "second", "text of a"]


@pytest.mark.parametrize("jump", [-86_400.0, 86_400.0])
def test_a_resumed_run_knows_its_earlier_answers_whatever_the_clock_says(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    runs.ask(Scripted(), ["a", "b"], run_id="one")
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + jump)
    # "c" is asked anew by a later chunk, when nobody knows its question any more.
    asked = runs.ask(Scripted(), ["a", "c"], ["c", "b"], run_id="one", resumed=True)
    assert asked.statuses == ["journal", "answered", "answered", "journal"]
    assert asked.context.metrics.duplicates == 1


# --- budget and gate


def test_the_budget_is_a_ceiling_and_the_rest_stays_not_run(runs: Runs) -> None:
    worst = PRICE.ceiling(10, 100)
    ceiling = 10 * worst
    budget = Budget(ceiling)
    most = D(0)

    def script(prompt: str, attempt: int) -> None:
        nonlocal most
        most = max(most, budget.spent + budget.reserved + budget.possibly_billed)

    asked = runs.ask(Scripted(script), [str(n) for n in range(500)], budget=budget, width=20)
    assert most <= ceiling
    context = asked.context
    assert (context.control.reason, context.control.error) == ("budget", None)
    assert "out of budget" in context.metrics.message
    answered = asked.statuses.count("answered")
    assert asked.statuses.count("not_run") == 500 - answered
    assert context.accumulated_cost == answered * EACH == budget.spent
    assert ceiling - budget.spent < worst  # used as far as it goes
    assert budget.reserved == 0


def test_a_budget_for_nothing_sends_nothing(runs: Runs) -> None:
    provider = Scripted()
    asked = runs.ask(provider, ["a", "b"], budget=Budget(D(0)))
    assert (provider.sent, asked.statuses) == ([], ["not_run"] * 2)


def test_a_free_model_runs_on_any_budget(runs: Runs) -> None:
    asked = runs.ask(Scripted(price=FREE), ["a"], budget=Budget(D(0)))
    assert asked.statuses == ["answered"]
    assert asked.context.get_costs().total_cost == 0


def test_an_unknown_price_is_unknown_not_0(runs: Runs) -> None:
    asked = runs.ask(Scripted(price=None), ["a", "a"])
    assert asked.statuses == ["answered"] * 2
    costs = asked.context.get_costs()
    assert (costs.total_cost, costs.total_tokens) == (None, 15)
    assert asked.context.metrics.saved == 0


def test_at_most_8_in_flight_before_the_first_answer(runs: Runs) -> None:
    slow = Scripted(lambda prompt, attempt: OverloadedError("busy") if attempt < 3 else None)
    runs.ask(slow, [str(n) for n in range(60)], width=30)
    peak_before = Scripted(lambda prompt, attempt: RejectedRequestError(prompt))
    runs.ask(peak_before, [f"x{n}" for n in range(60)], width=30)
    assert peak_before.peak == 8
    open_wide = Scripted(lambda prompt, attempt: asyncio.sleep(0.02))
    runs.ask(open_wide, [f"y{n}" for n in range(200)], width=30)
    assert open_wide.peak > 8


# --- stops and the journal


def test_a_stop_sends_no_more_and_what_is_in_flight_is_journaled(runs: Runs) -> None:
    context_of: list[ExecutionContext] = []

    class Noting(Prompts):
        async def open(self, context: ExecutionContext) -> None:
            context_of.append(context)

    async def stops(prompt: str, attempt: int) -> None:
        if not context_of[0].control.stopping:  # a second stop would cancel what is in flight
            context_of[0].control.stop()
        await asyncio.sleep(0.02)

    provider = Scripted(lambda prompt, attempt: stops(prompt, attempt))
    stage = asking(
        provider,
        Settings(model="m", max_tokens=100),
        journal=runs.journal,
        run_id="stopped",
        concurrency=3,
    )
    rows = [Row(n, (str(n),), {"p": 0}) for n in range(50)]
    context = ExecutionContext()

    async def main() -> None:
        async with asyncio.timeout(PATIENCE):
            window = Window([Noting(), stage, Keep(stage, lambda row, asker: None)], context, 3)
            await window.run(arriving([rows]))
            await context.control.drained()

    asyncio.run(main())
    assert 1 <= len(provider.sent) <= 3
    again = Scripted()
    asked = runs.ask(again, [str(n) for n in range(50)])
    assert asked.statuses.count("journal") == len(provider.sent)
    assert set(again.sent).isdisjoint(provider.sent)


def test_an_answer_that_cant_be_journaled_ends_the_run(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(entries: Sequence[Entry]) -> None:
        raise JournalError("disk full")

    monkeypatch.setattr(runs.journal, "extend", fails)
    budget, provider = Budget(D(1)), Scripted()
    asked = runs.ask(provider, [str(n) for n in range(50)], budget=budget, width=1)
    assert provider.sent == ["0"]
    assert isinstance(asked.context.control.error, JournalError)
    assert asked.statuses == ["not_run"] * 50
    assert budget.possibly_billed == PRICE.ceiling(10, 100)


def test_an_answer_is_durable_before_it_is_counted(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    durable: set[bytes] = set()
    extend = runs.journal.extend

    async def noted(entries: Sequence[Entry]) -> None:
        await extend(entries)
        durable.update(entry.key for entry in entries)

    monkeypatch.setattr(runs.journal, "extend", noted)

    def check(row: Row, asker: InvokeStage) -> None:
        assert asker.lookup.key(Prompt(f"{row.position}")) in durable

    asked = runs.ask(Scripted(), [str(n) for n in range(40)], check=check)
    assert asked.statuses == ["answered"] * 40


def test_an_entry_says_what_it_was_and_holds_no_more(runs: Runs) -> None:
    before = time.time()
    asked = runs.ask(Scripted(), ["a"])

    async def found() -> list[Entry]:
        key = asked.stage.lookup.key(Prompt("a"))
        return (await runs.journal.lookup([key]))[key]

    (entry,) = asyncio.run(found())
    assert (entry.run, entry.model, entry.max_tokens, entry.latency) == ("run1", "m", 100, 0.5)
    assert (entry.cost, entry.body, entry.begins) == (str(EACH), body("text of a"), False)
    assert before <= entry.at <= time.time()


# --- a row that can't be afforded, and one that isn't allowed


class Sized(Scripted):
    """Its requests weigh what their prompts have characters."""

    def request_bytes(self, prompt: str) -> int:
        return len(prompt)


@pytest.mark.parametrize("at", [0, 25, 50])
def test_a_row_that_the_budget_cant_pay_is_set_aside_and_the_others_go_on(
    runs: Runs, at: int
) -> None:
    large, budget = "x" * 1_000_000, Budget(D("0.5"))
    prompts = [large if n == at else f"row {n}" for n in range(51)]
    asked = runs.ask(Sized(), prompts, budget=budget)
    assert [n for n, status in enumerate(asked.statuses) if status == "not_run"] == [at]
    assert asked.statuses.count("answered") == 50
    failure = asked.rows[at].failure
    assert failure is not None
    assert failure.error_type == "BudgetExceededError"
    assert "may cost up to $1" in failure.message
    context = asked.context
    assert (context.control.reason, context.control.error) == ("budget", None)
    assert context.metrics.message.startswith(f"a row was set aside, row {at}: out of budget")
    assert (context.done_rows, context.failed_rows, context.total_rows) == (50, 0, 51)
    assert budget.reserved == 0


def test_several_that_cant_be_paid_are_counted_and_a_larger_budget_runs_them(runs: Runs) -> None:
    prompts = [("x" * 400_000 + f"{n}") if n % 3 else f"row {n}" for n in range(9)]
    asked = runs.ask(Sized(), prompts, budget=Budget(D("0.3")), width=2)
    assert asked.statuses.count("answered") == 3
    assert asked.context.metrics.message.startswith("6 rows were set aside, row 1: ")
    more = runs.ask(Sized(), prompts, budget=Budget(D(5)), width=2)
    assert more.statuses.count("journal") == 3
    assert more.statuses.count("answered") == 6
    assert more.context.control.reason is None


def forbidden(prompt: str) -> ForbiddenError:
    return ForbiddenError(f"the gateway refused the request (403: {prompt})")


def test_a_403_for_one_rows_text_is_that_rows_failure(runs: Runs) -> None:
    filtered = Scripted(lambda prompt, attempt: forbidden(prompt) if int(prompt) % 4 == 3 else None)
    asked = runs.ask(filtered, [str(n) for n in range(40)], width=1)
    assert asked.context.control.error is None
    assert (asked.statuses.count("answered"), asked.statuses.count("failed")) == (30, 10)
    again = runs.ask(filtered, [str(n) for n in range(40)], width=1)
    assert again.context.control.error is None
    assert again.statuses.count("journal") == 30


def test_a_403_before_any_answer_and_one_that_repeats_over_rows_end_the_run(runs: Runs) -> None:
    first = runs.ask(Scripted(lambda prompt, attempt: forbidden(prompt)), list("abc"), width=1)
    assert isinstance(first.context.control.error, FatalProviderError)
    assert "give a key that may ask this model" in str(first.context.control.error)
    revoked = Scripted(lambda prompt, attempt: forbidden(prompt) if int(prompt) > 9 else None)
    later = runs.ask(revoked, [str(n) for n in range(100)], width=1)
    assert isinstance(later.context.control.error, FatalProviderError)
    assert later.statuses.count("answered") == 10
    assert len(revoked.sent) == 15
