"""Texts longer than the model's context: told, refused, or asked in chunks and merged."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

from ondine_nb import Pipeline, Run
from ondine_nb.errors import ConfigurationError
from ondine_nb.journal import Journal
from ondine_nb.models import CostEstimate
from ondine_nb.providers import keep
from tests.asking import CHAT, HAIKU, Asker, ended, statuses
from tests.server import MessagesServer
from tests.splitting import FACTS, PROMPT, answered, is_merge, long_text, of_context, rows

CONTEXT = 4_000  # tokens
QUOTED: dict[str, Any] = {"schema": FACTS, "evidence": "all"}
COUNTS = "POST /v1/messages/count_tokens"
TEXT, TOLD = long_text(60_000, 40)
PLAIN = "How many facts are in this? {text}"


@pytest.fixture
def server() -> Iterator[MessagesServer]:
    with MessagesServer(answer=answered) as running:
        yield running


@pytest.fixture
def asker(server: MessagesServer, home: Path) -> Asker:
    of_context(home, server, CONTEXT)
    return Asker(server, home)


def done(run: Run) -> Run:
    assert run.error is None, run.error
    assert list(run.errors["message"]) == []
    assert run.state == "done"
    return run


def estimated(pipeline: Pipeline) -> CostEstimate:
    return asyncio.run(pipeline.estimator().estimate())


def assert_placed(frame: Any, at: int, text: str, told: list[str]) -> None:
    """Every fact is there once and in order, with its place in the whole text."""
    row = frame.iloc[at]
    assert list(row["facts"]) == told
    places = zip(row["facts_evidence_start"], row["facts_evidence_end"], strict=True)
    assert [text[start:end] for start, end in places] == told
    assert [text.index(fact) for fact in told] == list(row["facts_evidence_start"])
    assert set(row["facts_evidence_match"]) == {"exact"}
    assert set(row["facts_evidence_column"]) == {"text"}


# -- told and refused


def test_a_row_that_is_longer_than_the_context_fails_by_name_and_is_not_sent(
    server: MessagesServer, asker: Asker
) -> None:
    frame = pd.DataFrame({"title": ["a", "b"], "text": [TEXT, "short"]})
    run = asker.run(frame, "{title}: {text}")
    assert statuses(run) == ["failed", "answered"]
    (error,) = run.errors.to_dict("records")
    assert (error["row"], error["error_type"], error["attempts"]) == (0, "TooLongError", 0)
    assert re.fullmatch(
        r"column 'text' makes the prompt 15,\d{3} tokens long, and 'claude-haiku-5-5' takes "
        "4,000: --split auto asks in parts",
        error["message"],
    )
    assert server.arrived == 1


def test_the_dry_run_says_how_many_rows_are_too_long_before_anything_is_paid(
    server: MessagesServer, asker: Asker
) -> None:
    said = estimated(asker.pipeline(rows(TEXT, "short", TEXT + "!"), PLAIN))
    assert said.notes[0] == (
        "2 rows are longer than the 4,000 tokens that 'claude-haiku-5-5' takes, and would fail: "
        "--split auto asks in parts"
    )
    assert (said.requests, server.arrived) == (1, 0)


def test_where_all_rows_are_too_long_one_line_says_so_before_anything_is_sent(
    server: MessagesServer, asker: Asker
) -> None:
    run = asker.run(rows(TEXT, TEXT + "!", TEXT + "?"), PLAIN)
    assert run.state == "failed"
    assert isinstance(run.error, ConfigurationError)
    assert str(run.error).endswith("asks in parts (and so for all 3 rows): nothing was sent")
    assert server.arrived == 0


def test_rows_whose_bytes_fit_are_not_counted_and_answered_ones_are_not_either(
    server: MessagesServer, home: Path
) -> None:
    asker = Asker(server, home)
    long = TEXT[:9_000]  # more bytes than the model takes tokens, and fewer tokens
    done(asker.run(rows(long), PLAIN))
    of_context(home, server, CONTEXT)
    assert statuses(done(asker.run(rows(long, "short"), PLAIN))) == ["journal", "answered"]
    assert server.calls[COUNTS] == 0
    done(asker.run(rows(long + "."), PLAIN))
    assert (server.calls[COUNTS], server.ledger.requests) == (1, 3)


def test_where_nobody_counts_the_server_says_what_is_too_long(home: Path) -> None:
    with MessagesServer() as server:
        asker = Asker(server, home, CHAT)
        given: dict[str, Any] = {"max_tokens": 100}
        models = [{"id": "gpt-4.1-mini", "context_length": CONTEXT}]
        keep(home, asker.pipeline(rows("x"), PLAIN, **given).provider.identity, models)
        may, surely = TEXT[:20_000], TEXT * 2
        run = asker.run(rows(may, surely), PLAIN, **given)
        assert statuses(run) == ["answered", "failed"]
        assert "prompt at least 7,501 tokens long" in run.errors["message"].iloc[0]
        said = estimated(asker.pipeline(rows(may + "."), PLAIN, **given))
        assert said.notes[0].startswith("1 row may be longer than the 4,000 tokens")


# -- what is cut


def test_a_text_just_at_the_border_is_not_cut_and_a_byte_more_is(
    server: MessagesServer, asker: Asker
) -> None:
    room = CONTEXT - 1_024 - 64 - len("How many facts are in this? ")
    whole, cut = TEXT[:room], TEXT[: room + 1]
    for given in ({"split": "auto"}, {"split": 700}):
        size = room if given["split"] == "auto" else 4 * 700
        whole, cut = TEXT[:size], TEXT[:size] + "!"
        first = server.ledger.requests
        done(asker.run(rows(whole), PLAIN))
        again = done(asker.run(rows(whole), PLAIN, **given))
        assert statuses(again) == ["journal"]  # the same question as without it
        assert server.ledger.requests == first + 1
        if given["split"] == 700:
            assert done(asker.run(rows(cut), PLAIN, **given)).stats is not None
            assert server.ledger.requests > first + 2
    assert server.calls[COUNTS] == 0


def test_a_text_that_fits_by_the_apis_own_count_is_not_cut(
    server: MessagesServer, asker: Asker
) -> None:
    fits = TEXT[:11_000]
    done(asker.run(rows(fits), PLAIN, split="auto"))
    assert [entry.prompt for entry in server.ledger.entries] == [PLAIN.format(text=fits)]
    assert server.calls[COUNTS] == 1
    done(asker.run(rows(TEXT[:14_000]), PLAIN, split="auto"))
    assert server.ledger.requests > 3
    assert all(len(entry.prompt) < CONTEXT for entry in server.ledger.entries[1:])


@pytest.mark.parametrize("split", ["auto", 400])
def test_a_long_text_comes_back_with_all_its_facts_each_at_its_place(
    split: Any, server: MessagesServer, asker: Asker
) -> None:
    run = done(asker.run(rows(TEXT, f"Short, but {TOLD[3]}."), PROMPT, split=split, **QUOTED))
    assert_placed(run.frame, 0, TEXT, TOLD)
    assert list(run.frame["facts"][1]) == [TOLD[3]]
    chunks = [entry.prompt for entry in server.ledger.entries]
    assert not any(map(is_merge, chunks))  # the number is nowhere: there is nothing to decide
    assert max(map(len, chunks)) < (CONTEXT if split == "auto" else 4 * 400 + len(PROMPT))
    assert sum(map(len, chunks)) < 1.3 * len(TEXT)
    assert run.cost == server.ledger.cost(*HAIKU)
    assert sum(Decimal(str(cost)) for cost in run.rows["cost"]) == run.cost
    assert list(run.rows["attempts"]) == [len(chunks) - 1, 1]


def test_a_quote_that_stands_twice_has_its_own_place_each_time(asker: Asker) -> None:
    text = "red is the colour of it. " + TEXT[:8_000] + " red is the colour of it."
    run = done(asker.run(rows(text), PROMPT, split=400, **QUOTED))
    starts = [
        start
        for fact, start in zip(
            run.frame["facts"][0], run.frame["facts_evidence_start"][0], strict=True
        )
        if fact == "red is the colour of it"
    ]
    assert starts == [0, text.rindex("red is")]


def test_a_single_value_is_decided_by_a_question_that_sees_the_candidates_with_their_quotes(
    server: MessagesServer, asker: Asker
) -> None:
    text = f"Its number is 7. {TEXT[:9_000]} Its number is 12. {TEXT[9_000:15_000]}"
    run = done(asker.run(rows(text), PROMPT, split=500, **QUOTED))
    row = run.frame.iloc[0]
    assert row["number"] == 12
    assert row["number_evidence"] == "Its number is 12"
    assert row["number_evidence_start"] == text.index("Its number is 12")
    merges = [entry.prompt for entry in server.ledger.entries if is_merge(entry.prompt)]
    assert merges
    assert '"number_evidence": "Its number is 7", "number": 7' in merges[0]
    assert "They differ in: number." in merges[0]
    assert '"facts"' not in merges[0]


def test_a_value_that_all_agree_on_needs_no_question(server: MessagesServer, asker: Asker) -> None:
    text = f"Its number is 7. {TEXT[:9_000]} Its number is 7. {TEXT[9_000:15_000]}"
    run = done(asker.run(rows(text), PROMPT, split=500, **QUOTED))
    assert (run.frame["number"][0], run.frame["number_evidence_start"][0]) == (7, 0)
    assert not any(is_merge(entry.prompt) for entry in server.ledger.entries)


def test_plain_answers_are_merged_by_a_tree(server: MessagesServer, asker: Asker) -> None:
    run = done(asker.run(rows(TEXT), PLAIN, split=100))
    merges = [entry.prompt for entry in server.ledger.entries if is_merge(entry.prompt)]
    assert len(merges) > 6
    counted = sum(
        entry.prompt.count("is the colour of")
        for entry in server.ledger.entries
        if not is_merge(entry.prompt)
    )
    assert list(run.frame["response"]) == [str(counted)]  # those of an overlap are there twice
    progress = run.context.metrics.groups
    assert progress is not None
    assert (progress.texts, progress.left) == (1, 0)
    assert progress.levels >= 3


def test_an_edit_in_the_middle_asks_again_only_its_chunk_and_the_path_above_it(
    server: MessagesServer, asker: Asker
) -> None:
    text = TEXT[:30_000]
    done(asker.run(rows(text), PLAIN, split=250))
    dice, asked = random.Random(4), list[int]()
    for number in range(3):
        at = text.index(" ", dice.randrange(len(text) - 100))
        before = server.ledger.requests
        done(asker.run(rows(f"{text[:at]} new {number}{text[at:]}"), PLAIN, split=250))
        asked.append(server.ledger.requests - before)
    assert max(asked) <= 10
    assert sum(asked) / len(asked) <= 6


def test_the_longest_column_is_cut_and_the_others_go_with_each_chunk(
    server: MessagesServer, asker: Asker
) -> None:
    frame = pd.DataFrame({"title": ["Colours"], "text": [TEXT[:16_000]], "note": ["n" * 900]})
    prompt = "About {title} ({note}): {text} What is it? {title}"
    run = done(asker.run(frame, prompt, split="auto", schema=FACTS))
    assert list(run.frame["facts"][0]) == [fact for fact in TOLD if fact in TEXT[:16_000]]
    for entry in server.ledger.entries:
        assert entry.prompt.startswith(f"About Colours ({'n' * 900}): ")
        assert entry.prompt.endswith(" What is it? Colours")
        assert len(entry.prompt) < CONTEXT - 1_024


def test_jinja_and_polars_and_examples_ask_in_chunks_too(
    server: MessagesServer, asker: Asker
) -> None:
    shown = pd.DataFrame(
        {"text": ["a", "b"], "lang": "en", "facts": [["c"], ["d"]], "number": [1, 2]}
    )
    frame = pl.DataFrame({"text": [TEXT, "x"], "lang": ["en", None]})
    prompt = "{% if lang %}In {{ lang }}. {% endif %}Which facts? {{ text | trim }}"
    given: dict[str, Any] = {"schema": FACTS, "jinja": True, "split": "auto", "examples": shown}
    run = done(asker.run(frame, prompt, **given))
    assert run.frame["facts"][0].to_list() == TOLD
    assert all(len(entry.prompt) < CONTEXT for entry in server.ledger.entries)
    assert all("Each example shows" in entry.prompt for entry in server.ledger.entries)


def test_pages_sentences_and_scripts_without_spaces_are_cut_too(asker: Asker) -> None:
    text = (
        "天地玄黃，宇宙洪荒。日月盈昃，辰宿列張。" * 400
        + "red is the colour of it. "
        + "寒來暑往" * 900
    )
    run = done(asker.run(rows(text), PROMPT, split="auto", **QUOTED))
    assert list(run.frame["facts_evidence_start"][0]) == [text.index("red")]


# -- money, and what goes wrong


def test_the_dry_run_counts_chunks_and_merges_and_the_cost_is_in_its_range(
    server: MessagesServer, asker: Asker
) -> None:
    frame = rows(TEXT, "short", long_text(20_000, 3, seed=7)[0])
    said = estimated(asker.pipeline(frame, PLAIN, split="auto"))
    run = done(asker.run(frame, PLAIN, split="auto"))
    merges = sum(is_merge(entry.prompt) for entry in server.ledger.entries)
    chunks = server.ledger.requests - merges - 1
    assert said.requests == server.ledger.requests
    assert said.rows == 3
    assert said.notes[0] == (
        f"2 rows are asked in parts: {chunks} chunks and {merges} that merge answers, on 4 levels"
    )
    assert said.low is not None
    assert said.high is not None
    assert run.cost is not None
    assert said.low <= run.cost <= said.high
    again = estimated(asker.pipeline(frame, PLAIN, split="auto"))
    assert (again.requests, again.total_cost) == (0, 0)


def test_of_fields_the_dry_run_counts_the_questions_that_there_may_be(
    server: MessagesServer, asker: Asker
) -> None:
    lists = estimated(asker.pipeline(rows(TEXT), PROMPT, split="auto", schema="facts: list[str]"))
    assert " chunks" in lists.notes[0]
    assert "merge" not in lists.notes[0]
    fields = estimated(asker.pipeline(rows(TEXT), PROMPT, split="auto", schema=FACTS))
    assert "and at most" in fields.notes[0]
    assert fields.requests > lists.requests
    done(asker.run(rows(TEXT), PROMPT, split="auto", schema=FACTS))
    assert server.ledger.requests == lists.requests


def test_a_budget_is_a_ceiling_for_chunks_too(server: MessagesServer, asker: Asker) -> None:
    run = asker.run(rows(TEXT, "x"), PLAIN, budget="0.0012", concurrency=2, split="auto")
    assert run.cost is not None
    assert Decimal(0) < run.cost <= Decimal("0.0012")
    assert run.cost == server.ledger.cost(*HAIKU)
    assert "not_run" in statuses(run)
    done(asker.run(rows(TEXT, "x"), PLAIN, split="auto"))
    assert max(server.ledger.by_prompt().values()) == 1


def test_a_run_that_is_stopped_keeps_what_is_in_flight_and_the_next_pays_for_the_rest(
    home: Path,
) -> None:
    with MessagesServer(answer=answered, latency=0.05) as server:
        of_context(home, server, CONTEXT)
        asker = Asker(server, home)
        run = asker.stopped(6, rows(TEXT), PROMPT, concurrency=3, split="auto", **QUOTED)
        assert (run.state, statuses(run)) == ("stopped", ["not_run"])
        assert run.cost == server.ledger.cost(*HAIKU)
        whole = done(asker.run(rows(TEXT), PROMPT, split="auto", **QUOTED))
        assert_placed(whole.frame, 0, TEXT, TOLD)
        assert max(server.ledger.by_prompt().values()) == 1


@pytest.mark.parametrize("fault", ["400", "refusal", "bad_schema"])
def test_a_failed_chunk_fails_its_row_by_name_and_a_retry_asks_only_what_failed(
    fault: str, home: Path
) -> None:
    broken = {"on": True}

    def plan(body: Any, _attempt: int) -> str | None:
        return fault if broken["on"] and "thing23." in str(body) else None

    with MessagesServer(answer=answered, plan=plan) as server:
        of_context(home, server, CONTEXT)
        asker = Asker(server, home)

        async def both() -> tuple[Run, Run]:
            run = Run(asker.pipeline(rows(TEXT, "x"), PROMPT, split="auto", **QUOTED))
            await ended(run)
            broken["on"] = False
            retry, over = run.retry_failed(), asyncio.Event()
            retry.when_over(lambda _: over.set())
            await over.wait()
            return run, retry

        run, retry = asyncio.run(both())
        assert statuses(run) == ["failed", "answered"]
        (message,) = run.errors["message"]
        assert message.startswith("characters ")
        assert " of column 'text': " in message
        assert_placed(done(retry).frame, 0, TEXT, TOLD)
        paid = server.ledger.by_prompt()
        assert [it for it, times in paid.items() if times > 1 and "thing23." not in it] == []


def test_evidence_that_is_required_is_asked_again_of_the_chunk_that_lacks_it(home: Path) -> None:
    def without(body: Any) -> str:
        said = answered(body)
        if "thing5." not in str(body):
            return said
        return re.sub('"evidence": "[^"]*"', '"evidence": "nobody would ever say so"', said)

    with MessagesServer(answer=without) as server:
        of_context(home, server, CONTEXT)
        given: dict[str, Any] = {**QUOTED, "split": "auto", "require_evidence": True}
        run = Asker(server, home).run(rows(TEXT[:16_000], "x"), PROMPT, **given)
        assert statuses(run) == ["failed", "answered"]
        assert "isn't in the text (asked 3 times)" in run.errors["message"].iloc[0]
        assert set(server.ledger.by_prompt().values()) == {1, 3}


def test_equal_long_rows_are_asked_once(server: MessagesServer, asker: Asker) -> None:
    run = done(asker.run(rows(TEXT, TEXT), PROMPT, split="auto", **QUOTED))
    for at in (0, 1):
        assert_placed(run.frame, at, TEXT, TOLD)
    assert max(server.ledger.by_prompt().values()) == 1
    assert statuses(run) == ["answered", "answered"]


def test_a_stream_is_asked_in_chunks_row_by_row(
    server: MessagesServer, asker: Asker, tmp_path: Path
) -> None:
    path, out = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    rows("a", TEXT, "b").to_json(path, orient="records", lines=True)
    done(asker.run(str(path), PROMPT, split="auto", to=str(out), chunk_size=1, **QUOTED))
    frame = pd.read_json(out, lines=True)
    assert_placed(frame, 1, TEXT, TOLD)
    assert list(frame["text"]) == ["a", TEXT, "b"]


def test_without_a_key_what_lies_in_the_journal_is_there_in_chunks_too(
    server: MessagesServer, asker: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    done(asker.run(rows(TEXT), PROMPT, split="auto", **QUOTED))
    pipeline = asker.pipeline(rows(TEXT, TEXT[100:]), PROMPT, split="auto", **QUOTED)
    pipeline.nothing_new = "nothing new may be asked"
    before, run = server.arrived, Run(pipeline)
    asyncio.run(ended(run))
    assert statuses(run) == ["journal", "not_run"]
    assert_placed(run.frame, 0, TEXT, TOLD)
    assert server.arrived == before


# -- what can't be


def test_what_cannot_be_split_is_refused_in_one_line(
    server: MessagesServer, home: Path, tmp_path: Path
) -> None:
    asker = Asker(server, home)
    with pytest.raises(ConfigurationError, match="--split is 0: it has to be a whole number"):
        asker.pipeline(rows("x"), PLAIN, split=0)
    with pytest.raises(ConfigurationError, match=r"isn't known: give --split N"):
        asker.pipeline(rows("x"), PLAIN, split="auto", model="nobodys-model")
    of_context(home, server, CONTEXT)
    with pytest.raises(ConfigurationError, match=r"takes 4,000 tokens.*: give 1488 or less"):
        asker.pipeline(rows("x"), PLAIN, split=3_000)
    with pytest.raises(ConfigurationError, match=r"--split cuts texts.*: leave --split out"):
        asker.pipeline(pd.DataFrame({"scan": ["x.png"]}), "{scan:image}", split=500)
    run = asker.run(
        pd.DataFrame({"a": ["x" * 2_900], "b": ["y" * 2_950]}), "{a}{b}" * 3, split="auto"
    )
    assert "beside column 'b' the prompt has 8,700 bytes, and " in run.errors["message"].iloc[0]
    assert server.arrived == 0


def test_equal_chunks_are_looked_up_before_any_of_them_is_asked(
    server: MessagesServer, asker: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = "The same paragraph once more, and nothing else in it at all.\n\n" * 400
    done(asker.run(rows(same, "short"), PROMPT, split=200, **QUOTED))
    asked, lookup = server.ledger.requests, Journal.lookup
    assert asked < 12

    async def on_a_slow_disk(self: Journal, keys: Any, *given: Any, **more: Any) -> Any:
        await asyncio.sleep(0.05 if keys else 0)
        return await lookup(self, keys, *given, **more)

    monkeypatch.setattr(Journal, "lookup", on_a_slow_disk)
    done(asker.run(rows("other", same), PROMPT, split=200, **QUOTED))
    assert server.ledger.requests == asked + 1


def test_of_several_models_the_one_that_a_row_is_too_long_for_is_named(
    server: MessagesServer, home: Path
) -> None:
    told = {"claude-haiku-5-5": 1_000_000, "claude-sonnet-5-5": CONTEXT}
    keep(home, server.url, [{"id": name, "max_input_tokens": it} for name, it in told.items()])
    run = Asker(server, home).run(rows(TEXT, "x"), PROMPT, models=",".join(told), schema=FACTS)
    assert statuses(run) == ["failed", "answered"]
    assert "'claude-sonnet-5-5' takes 4,000: " in run.errors["message"].iloc[0]
    assert server.ledger.requests == 2
