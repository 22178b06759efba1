"""Evidence end to end: quotes asked in the same answer, found in the text, kept in columns."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

from ondine_nb import Pipeline
from ondine_nb.errors import ConfigurationError
from ondine_nb.evaluation.evidence import Finder
from ondine_nb.stages.batch import BatchPolicy
from ondine_nb.stages.batch import plan as batching
from tests.asking import HAIKU, Asker, ended, statuses
from tests.server import MessagesServer
from tests.server.answers import prompt_of
from tests.server.batches import BatchRules

PROMPT = "What does it cost?\n{text}"
SCHEMA = "amount: int, tags: list[str]"
PARTS = ("", "_start", "_end", "_column", "_match")
TEXTS = [
    "The ticket costs 12 euros, and it was very kind.",
    "It wasn't  cheap: “20 dollars” a head, they say.",
    "Nobody told us what it would cost in the end.",
]


def invoice(prompt: str) -> dict[str, Any]:
    """What the server answers: exact, reformatted or made-up quotes, by the row's text."""
    if "12 euros" in prompt:
        quotes, amount = ("costs 12 euros", "very kind"), 12
    elif "20 dollars" in prompt:
        quotes, amount = ('cheap: "20 dollars" a head', "wasn't cheap"), 20
    else:
        quotes, amount = ("the price is seven hundred crowns", ""), 700
    tags = [{"evidence": quotes[1], "value": "tone"}]
    return {"amount_evidence": quotes[0], "amount": amount, "tags": tags}


class Server(MessagesServer):
    """Answers with quotes where they are asked for; from attempt `mends_at` on they are right."""

    def __init__(self, mends_at: int = 99, **given: Any) -> None:
        super().__init__(answer=self._answer, **given)
        self.mends_at = mends_at
        self.asked: dict[str, int] = {}

    def _answer(self, body: Any) -> str:
        prompt = prompt_of(body)
        self.asked[prompt] = self.asked.get(prompt, 0) + 1
        schema = body["output_config"]["format"]["schema"]["properties"]
        answer = invoice(prompt)
        if self.asked[prompt] >= self.mends_at:
            said = prompt.splitlines()[-1][:20]
            answer["amount_evidence"] = answer["tags"][0]["evidence"] = said
        if "amount_evidence" not in schema:
            del answer["amount_evidence"]
        if "value" not in schema["tags"]["items"].get("properties", {}):
            answer["tags"] = ["tone"]
        return json.dumps(answer)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


@pytest.fixture
def asker(server: Server, home: Path) -> Asker:
    return Asker(server, home)


def rows(library: Any = pd) -> Any:
    return library.DataFrame({"text": TEXTS})


def cells(frame: Any, name: str) -> list[Any]:
    values = frame[name].tolist() if isinstance(frame, pd.DataFrame) else frame[name].to_list()
    return [None if value is pd.NA or value != value else value for value in values]


def test_quotes_stand_in_typed_columns_with_their_places_in_the_text(asker: Asker) -> None:
    for library in (pd, pl):
        frame = asker.run(rows(library), PROMPT, schema=SCHEMA, evidence="all").frame
        assert cells(frame, "amount") == [12, 20, 700]
        assert cells(frame, "amount_evidence_match") == ["exact", "near", "missing"]
        spans = ["costs 12 euros", "cheap: “20 dollars” a head", None]
        assert cells(frame, "amount_evidence") == spans
        assert cells(frame, "amount_evidence_column") == ["text", "text", None]
        places = zip(
            cells(frame, "amount_evidence_start"), cells(frame, "amount_evidence_end"), strict=True
        )
        cut = [None if a is None else text[a:b] for text, (a, b) in zip(TEXTS, places, strict=True)]
        assert cut == spans
        assert [list(each) for each in cells(frame, "tags_evidence_match")] == [
            ["exact"],
            ["near"],
            ["missing"],
        ]
        names = [f"{name}_evidence{part}" for name in ("amount", "tags") for part in PARTS]
        assert list(frame.columns) == ["text", "amount", "tags", *names]
        found = [str(frame[name].dtype) for name in names]
        assert (
            found
            == {
                pd: ["str", "Int64", "Int64", "str", "category", *["object"] * 5],
                pl: [
                    *("String", "Int64", "Int64", "String"),
                    "Enum(categories=['exact', 'near', 'approximate', 'missing'])",
                    *("List(String)", "List(Int64)", "List(Int64)", "List(String)", "List(String)"),
                ],
            }[library]
        )


def test_answers_with_and_without_evidence_are_kept_apart_and_each_is_paid_once(
    asker: Asker, server: Server
) -> None:
    for given, sent in (({}, 3), ({"evidence": "all"}, 6), ({"evidence": "amount"}, 9)):
        for _ in range(2):
            run = asker.run(rows(), PROMPT, schema=SCHEMA, **given)
            assert server.arrived == sent
    assert list(run.frame.columns[3:]) == [f"amount_evidence{part}" for part in PARTS]
    assert asker.run(rows(), PROMPT, schema=SCHEMA, evidence=["amount"]).stats.total_rows == 3
    assert server.arrived == 9


def test_the_journal_has_the_raw_answers_so_that_evidence_is_found_again_for_nothing(
    asker: Asker, server: Server
) -> None:
    first = asker.run(rows(), PROMPT, schema=SCHEMA, evidence="all").frame
    asker.end_process()
    again = asker.run(rows(), PROMPT, schema=SCHEMA, evidence="all")
    pd.testing.assert_frame_equal(again.frame, first)
    assert statuses(again) == ["journal"] * 3
    assert server.arrived == 3


def test_required_evidence_is_asked_for_twice_more_paid_and_then_the_row_fails_by_name(
    asker: Asker, server: Server
) -> None:
    given = {"schema": SCHEMA, "evidence": "all", "require_evidence": True}
    run = asker.run(rows(), PROMPT, **given)
    assert statuses(run) == ["answered", "answered", "failed"]
    (failure,) = run.errors.to_dict("records")
    assert (failure["row"], failure["stage"]) == (2, "evidence")
    assert failure["error_type"] == "EvidenceMissingError"
    assert failure["message"] == (
        "field 'amount': the quote 'the price is seven hundred crowns' isn't in the text "
        "(asked 3 times)"
    )
    assert list(server.asked.values()) == [1, 1, 3]
    assert run.costs.total_cost == server.ledger.cost(*HAIKU, cache_read="0.1") > Decimal(0)
    again = asker.run(rows(), PROMPT, **given)
    assert statuses(again) == ["journal", "journal", "failed"]
    assert server.arrived == 5, "a failure that was paid for comes from the journal"


@pytest.mark.parametrize("mends_at", [2, 3])
def test_a_row_that_quotes_rightly_when_asked_again_has_its_evidence(
    mends_at: int, home: Path
) -> None:
    with Server(mends_at) as server:
        run = Asker(server, home).run(
            rows(), PROMPT, schema=SCHEMA, evidence="all", require_evidence=True
        )
        assert statuses(run) == ["answered"] * 3
        assert cells(run.frame, "amount_evidence_match")[2] == "exact"
        assert server.arrived == 2 + mends_at


def test_what_was_asked_without_is_not_paid_again_where_evidence_is_required(
    asker: Asker, server: Server
) -> None:
    asker.run(rows(), PROMPT, schema=SCHEMA, evidence="all")
    asker.run(rows(), PROMPT, schema=SCHEMA, evidence="all", require_evidence=True)
    assert server.arrived == 3 + 2


@pytest.mark.parametrize("executor", ["async", "sync", "streaming"])
def test_every_executor_finds_the_same(executor: str, asker: Asker) -> None:
    frame = asker.run(rows(), PROMPT, schema=SCHEMA, evidence="all", executor=executor).frame
    assert cells(frame, "amount_evidence_match") == ["exact", "near", "missing"]


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("out.csv", pd.read_csv),
        ("out.jsonl", lambda path: pd.read_json(path, lines=True)),
        ("out.parquet", pd.read_parquet),
    ],
)
def test_evidence_is_written_with_the_rows_of_a_stream(
    name: str, read: Callable[[Path], Any], asker: Asker, tmp_path: Path
) -> None:
    source = tmp_path / "in.csv"
    rows().to_csv(source, index=False)
    run = asker.run(
        str(source), PROMPT, schema=SCHEMA, evidence="amount", to=tmp_path / name, chunk_size=2
    )
    assert run.error is None
    written = read(tmp_path / name)
    assert list(written["amount_evidence_match"]) == ["exact", "near", "missing"]
    assert list(written["amount_evidence"])[:2] == ["costs 12 euros", "cheap: “20 dollars” a head"]


def test_a_batch_has_evidence_like_any_run(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = BatchPolicy(first=0.02, longest=0.1, grace=0.3, patience=5)
    monkeypatch.setattr(batching, "PACE", quick)
    with Server(batches=BatchRules(delay=0.05)) as server:
        asker = Asker(server, home)
        given = {"schema": SCHEMA, "evidence": "all", "batch": True}
        frame = asker.run(rows(), PROMPT, **given).frame
        assert cells(frame, "amount_evidence_match") == ["exact", "near", "missing"]
        run = asker.run(rows(), PROMPT, require_evidence=True, **given)
        assert statuses(run) == ["journal", "journal", "failed"]
        assert list(server.asked.values()) == [1, 1, 3]


def test_a_run_goes_on_with_its_evidence(asker: Asker, server: Server, home: Path) -> None:
    run = asker.run(rows(), PROMPT, schema=SCHEMA, evidence="amount", require_evidence=True)
    sent = server.arrived
    resumed = Pipeline.resume(run.id, rows(), journal=home)
    assert resumed.pipeline.evidence == ("amount",)
    assert resumed.pipeline.options.require_evidence
    asyncio.run(ended(resumed))
    assert cells(resumed.frame, "amount_evidence_match") == ["exact", "near", None]
    assert server.arrived == sent


def test_a_quote_may_be_of_any_column_of_the_prompt(asker: Asker) -> None:
    data = pd.DataFrame({"head": ["no price"], "n": [7], "text": TEXTS[:1]})
    frame = asker.run(data, "{head} {n}\n{text}", schema=SCHEMA, evidence="amount").frame
    assert cells(frame, "amount_evidence_column") == ["text"]
    assert cells(frame, "amount_evidence_start") == [TEXTS[0].index("costs 12")]


def test_what_isn_t_verbatim_is_looked_for_in_another_process_that_ends_with_the_run(
    asker: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[subprocess.Popen[bytes]] = []
    start = subprocess.Popen

    def started(*given: Any, **more: Any) -> subprocess.Popen[bytes]:
        made.append(start(*given, **more))
        return made[-1]

    monkeypatch.setattr(subprocess, "Popen", started)
    monkeypatch.delattr(Finder, "find")
    frame = asker.run(rows(), PROMPT, schema=SCHEMA, evidence="all").frame
    assert cells(frame, "amount_evidence_match") == ["exact", "near", "missing"]
    assert len(made) == 1
    assert made[0].poll() is not None


def test_where_all_quotes_are_verbatim_no_process_is_started(
    asker: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(subprocess, "Popen")
    frame = asker.run(rows()[:1], PROMPT, schema=SCHEMA, evidence="all").frame
    assert cells(frame, "amount_evidence_match") == ["exact"]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"schema": None, "evidence": "all"}, "--evidence is all, and there is no schema: give"),
        ({"schema": "", "evidence": "all"}, "for the fields of a schema, and it is empty: give"),
        ({"require_evidence": True}, "--require-evidence, and there is no evidence: give"),
        ({"evidence": "amont"}, "--evidence names 'amont', which is no field of the schema"),
        ({"evidence": "all", "pack": 5}, "--pack and --evidence can't go together: leave"),
    ],
)
def test_what_can_t_be_meant_is_refused_in_a_line_before_anything_is_sent(
    given: dict[str, Any], says: str, asker: Asker, server: Server
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        asker.pipeline(rows(), PROMPT, **{"schema": SCHEMA, **given})
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert server.arrived == 0


def test_columns_that_are_there_already_are_refused_by_name(asker: Asker) -> None:
    data = rows().assign(amount_evidence_match="x")
    with pytest.raises(ConfigurationError, match="amount_evidence_match"):
        asker.pipeline(data, PROMPT, schema=SCHEMA, evidence="amount")


def test_an_estimate_counts_the_quotes(asker: Asker) -> None:
    def output(**given: Any) -> int:
        pipeline: Pipeline = asker.pipeline(rows(), PROMPT, schema=SCHEMA, **given)
        return pipeline.estimate().output_tokens

    assert output(evidence="amount") >= output() + 3 * 20
    assert output(evidence="all") >= output(evidence="amount") + 3 * 20
