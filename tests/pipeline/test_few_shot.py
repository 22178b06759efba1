"""Runs with examples: what is sent, cached, journaled, scored and resumed, and what is refused."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
from rapidfuzz.fuzz import ratio

from ondine_nb import Pipeline, Run
from ondine_nb.errors import ConfigurationError
from ondine_nb.evaluation import LabelSet
from ondine_nb.pipeline import JudgedRun
from tests.asking import HAIKU, Asker, echoes, statuses
from tests.evaluation.test_examples import gold, sentences, shown, typo
from tests.examples.provider import Shout
from tests.pipeline.test_records import stopped_at
from tests.server import MessagesServer, echo_of
from tests.server.answers import prompt_of

PROMPT = "How does the writer feel? {text}"
SCHEMA = "mood: glad|sad"


@pytest.fixture
def asker(server: MessagesServer, home: Path) -> Iterator[Asker]:
    asker = Asker(server, home)
    yield asker
    asker.end_process()


def rows(n: int = 30, seed: int = 7) -> pd.DataFrame:
    return pd.DataFrame({"text": sentences(n, seed)})


def plain(n: int = 40, words: int = 8) -> pd.DataFrame:
    """Labels for plain text answers."""
    return pd.DataFrame({"text": sentences(n, 0, words), "response": [f"a{at}" for at in range(n)]})


# -- what it costs


def test_examples_that_all_rows_share_are_written_to_the_cache_once_and_then_read(
    asker: Asker,
) -> None:
    run = asker.run(rows(), examples=plain(words=50), shots=10)
    head = run.pipeline.head
    billed = asker.server.ledger.entries
    tokens = len(head.rstrip().encode()) // 4
    assert tokens > 512
    assert [entry.cache_creation_input_tokens for entry in billed] == [tokens] + [0] * 29
    assert [entry.cache_read_input_tokens for entry in billed] == [0] + [tokens] * 29
    assert run.cost == asker.server.ledger.cost(*HAIKU)
    assert list(run.frame["response"]) == [echo_of(head + it) for it in rows()["text"]]


def test_the_system_text_and_the_examples_are_cached_side_by_side(asker: Asker) -> None:
    asker.run(rows(4), examples=plain(words=50), shots=10, system="Be brief. " * 250)
    last = asker.server.requests[-1].body
    assert last["system"][0]["cache_control"] == {"type": "ephemeral"}
    assert last["messages"][0]["content"][0]["cache_control"] == {"type": "ephemeral"}
    assert asker.server.ledger.entries[-1].cache_read_input_tokens > 1_000


def test_a_row_near_an_example_has_a_head_without_it_which_isnt_cached(asker: Asker) -> None:
    labels = plain(words=50)
    copy = typo(labels["text"][3], random.Random(0))
    run = asker.run(
        pd.DataFrame({"text": [copy, *rows(5)["text"]]}), examples=labels, shots=len(labels)
    )
    assert run.state == "done"
    sent = {entry.prompt.rpartition("Tell: ")[2]: entry for entry in asker.server.ledger.entries}
    assert len(shown(sent[copy].prompt)) == len(labels) - 1
    assert sent[copy].cache_read_input_tokens == sent[copy].cache_creation_input_tokens == 0
    assert all(ratio(text, copy) < 90 for text, _ in shown(sent[copy].prompt))
    others = [entry for text, entry in sent.items() if text != copy]
    assert sum(entry.cache_read_input_tokens > 0 for entry in others) == 4


def test_the_estimate_counts_the_examples_and_says_what_they_cost(asker: Asker) -> None:
    without = asker.pipeline(rows(100)).estimate()
    pipeline = asker.pipeline(rows(100), examples=plain(words=50), shots=10)
    estimate = pipeline.estimate()
    head = len(pipeline.head.encode()) // 4
    assert estimate.input_tokens - without.input_tokens == pytest.approx(100 * head, rel=0.05)
    assert "examples: 10 labels of 'examples' stand before every prompt; 30 of 40 labels are" in (
        " ".join(estimate.notes)
    )
    (note,) = [note for note in estimate.notes if note.startswith("they are about ")]
    assert note.endswith("of the likely cost: cached, so they are paid in full once")
    full = asker.pipeline(rows(100), examples=plain(words=50), shots=10, cache="off").estimate()
    assert estimate.total_cost is not None
    assert full.total_cost is not None
    answers = estimate.output_tokens * HAIKU[1] / 1_000_000
    assert estimate.total_cost - answers < (full.total_cost - answers) / 3
    run = asker.run(rows(100), examples=plain(words=50), shots=10)
    spent = run.costs.total_cost - run.costs.output_tokens * HAIKU[1] / 1_000_000  # type: ignore[operator]
    assert float(spent) == pytest.approx(float(estimate.total_cost - answers), rel=0.15)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"shots": 3}, "not cached: claude-haiku-5-5 caches from 512 tokens on"),
        ({"shots": 3, "examples_by": "nearest"}, "not cached, for each row has its own"),
    ],
)
def test_why_examples_arent_cached_is_told(
    asker: Asker, options: dict[str, Any], said: str
) -> None:
    notes = asker.pipeline(rows(), examples=plain(), **options).estimate().notes
    assert any(note.endswith(said) for note in notes)


# -- the journal


def test_examples_decide_an_answer_and_without_them_its_key_is_as_it_was(asker: Asker) -> None:
    asker.run(rows())
    assert statuses(asker.run(rows())) == ["journal"] * 30
    first = asker.run(rows(), examples=plain(), shots=4)
    assert statuses(first) == ["answered"] * 30
    assert statuses(asker.run(rows(), examples=plain(), shots=4)) == ["journal"] * 30
    assert statuses(asker.run(rows(), examples=plain(), shots=5)) == ["answered"] * 30
    pool = {each.text for each in first.pipeline.examples.pool}  # type: ignore[union-attr]
    others = plain().assign(response=lambda it: it["response"].where(it["text"].isin(pool), "x"))
    assert statuses(asker.run(rows(), examples=others, shots=4)) == ["journal"] * 30
    changed = plain().assign(response="x")
    assert statuses(asker.run(rows(), examples=changed, shots=4)) == ["answered"] * 30


@pytest.mark.parametrize("by", ["stratified", "nearest"])
def test_what_a_preview_or_a_sample_was_answered_the_whole_run_has_for_nothing(
    asker: Asker, by: str
) -> None:
    options = {"examples": plain(), "shots": 3, "examples_by": by}
    asker.pipeline(rows(), **options).preview(5)
    asker.run(rows(), **options, sample=10)
    asked = asker.server.ledger.requests
    run = asker.run(rows(), **options)
    assert statuses(run).count("journal") == asked
    assert max(asker.server.ledger.by_prompt().values()) == 1


def test_a_preview_shows_the_labels_of_a_set_as_the_whole_run_does(asker: Asker) -> None:
    labels = LabelSet("moods")
    data = pd.DataFrame({"text": sentences(20), "price": [1.5 + at for at in range(20)]})
    for text in data["text"][:6]:
        labels.add({"text": text}, {"response": "fine"})
    prompt = "Dear? {{ text }} {{ (price * 2)|round(1) }}"
    options = {"examples": "moods", "shots": 6, "jinja": True}
    asker.pipeline(data, prompt, **options).preview(4)
    run = asker.run(data, prompt, **options)
    assert "3.0" in run.pipeline.head
    assert statuses(run).count("journal") == 4


# -- how rows come and go


def test_in_a_pack_a_row_near_an_example_goes_alone_with_the_others_before_it(
    asker: Asker,
) -> None:
    labels = plain()
    data = pd.DataFrame({"text": [*rows(9)["text"], labels["text"][3]]})
    run = asker.run(data, examples=labels, shots=len(labels), pack=5)
    assert run.state == "done"
    before = run.pipeline.examples.before([(text,) for text in data["text"]])  # type: ignore[union-attr]
    prompts = [f"{it}Tell: {text}" for it, text in zip(before, data["text"], strict=True)]
    assert list(run.frame["response"]) == list(map(echo_of, prompts))
    assert sorted(len(it.prompt) < 4_000 for it in asker.server.requests) == [False] * 3
    alone = [it for it in asker.server.requests if "The requests:" not in it.prompt]
    assert [it.prompt for it in alone] == [prompts[-1]]


@pytest.mark.parametrize("by", ["stratified", "nearest"])
def test_a_stream_shows_the_same_examples_as_a_frame(asker: Asker, tmp_path: Path, by: str) -> None:
    options = {"examples": plain(), "shots": 3, "examples_by": by}
    asked = asker.run(rows(), **options)
    rows().to_csv(tmp_path / "rows.csv", index=False)
    run = asker.run(str(tmp_path / "rows.csv"), **options, to=tmp_path / "out.csv", chunk_size=7)
    assert run.counts.journal == 30
    written = pd.read_csv(tmp_path / "out.csv")
    assert list(written["response"]) == list(asked.frame["response"])


def test_polars_and_pandas_show_the_same(asker: Asker) -> None:
    frame = gold(40).assign(stars=[1, 2] * 20, tags=[["a"], []] * 20)
    schema = "mood: glad|sad, stars: int, tags: list[str]"
    asker.run(rows(), PROMPT, schema=schema, examples=frame)
    other = pl.DataFrame(frame.to_dict(orient="list"))
    run = asker.run(rows(), PROMPT, schema=schema, examples=other)
    assert statuses(run) == ["journal"] * 30


def test_a_provider_of_ones_own_is_given_the_examples_as_text() -> None:
    labels = pd.DataFrame({"text": ["one thing"], "response": ["it"]})
    data = pd.DataFrame({"text": ["and another"]})
    pipeline = Pipeline(data, "Tell: {text}", examples=labels, provider=Shout())
    (answer,) = pipeline.execute().data["response"]
    assert answer == " ".join(f"{pipeline.head}and another".upper().split())


# -- what is scored


def copying(body: Any) -> str:
    """The answer of the example that is most like the row; of none, a coin's."""
    before, _, own = prompt_of(body).rpartition("</examples>")
    row = own.rpartition("? ")[2]
    best = max(shown(before), key=lambda each: ratio(each[0], row), default=None)
    return best[1] if best else json.dumps({"mood": "glad" if len(row) % 2 else "sad"})


@pytest.mark.parametrize("by", ["stratified", "nearest"])
def test_who_copies_examples_isnt_scored_on_what_it_was_shown(home: Path, by: str) -> None:
    draw = random.Random(11)
    texts = sentences(150, seed=11)
    moods = [draw.choice(["glad", "sad"]) for _ in texts]
    twice = [*texts, *(typo(text, draw) for text in texts)]
    frame = pd.DataFrame({"text": twice, "truth": moods * 2})
    labels = frame.rename(columns={"truth": "mood"})
    with MessagesServer(answer=copying) as server:
        asker = Asker(server, home)
        options = {"schema": SCHEMA, "examples": labels, "examples_by": by, "shots": 4}
        run = asker.run(frame, PROMPT, **options)
        asker.end_process()
    scores = run.score("mood", labels="truth")
    examples = run.pipeline.examples
    assert examples is not None
    served = sum(examples.served((text,) for text in twice))
    assert scores.n == 300 - served  # type: ignore[union-attr]
    assert served >= len(examples.pool)
    assert f"{served:,} labelled rows served as examples" in scores.notes[0]  # type: ignore[union-attr]
    assert scores.notes[0].endswith(f": {300 - served:,} are scored")  # type: ignore[union-attr]
    # The two of a pair are right or wrong together.
    assert abs(scores.accuracy - 0.5) < 4 * 0.5 / (scores.n / 2) ** 0.5  # type: ignore[union-attr,operator]


def test_labels_of_review_that_are_shown_arent_scored_either(asker: Asker) -> None:
    first = asker.run(rows(20), PROMPT, schema=SCHEMA, name="labeled")
    judged = JudgedRun(first)
    for at in range(12):
        judged.rows.add(at, {"mood": "glad"}, reviewer="ann")
    run = asker.run(rows(20), PROMPT, schema=SCHEMA, name="labeled", examples="labeled", shots=4)
    scores = run.score()
    assert scores.n == 8  # type: ignore[union-attr]
    assert scores.notes == (  # type: ignore[union-attr]
        "4 labelled rows served as examples or are nearly equal to one, and don't count: 8 are "
        "scored",
    )
    assert first.score().n == 12  # type: ignore[union-attr]


# -- going on


def test_a_resumed_run_shows_the_labels_of_its_set_again(asker: Asker) -> None:
    labels = LabelSet("moods")
    for text in sentences(10):
        labels.add({"text": text}, {"response": "fine"})
    first = stopped_at(asker, rows(), 8, examples="moods", shots=4)
    again = Pipeline.resume(first.id, rows(), journal=asker.folder)
    assert again.pipeline.head == first.pipeline.head
    again.execute()
    assert max(asker.server.ledger.by_prompt().values()) == 1
    for text in sentences(10):
        labels.add({"text": text}, {"response": "bad"})
    with pytest.raises(ConfigurationError, match="labels of 'moods' would show other examples"):
        Pipeline.resume(first.id, rows(), journal=asker.folder)
    assert Pipeline.resume(first.id, rows(), journal=asker.folder, shots=5).pipeline.examples


def test_a_frame_of_examples_is_given_again_and_known_by_its_fingerprint(asker: Asker) -> None:
    first = stopped_at(asker, rows(), 8, examples=plain(), shots=4)

    def again(examples: Any = None) -> Run:
        given = {} if examples is None else {"examples": examples}
        return Pipeline.resume(first.id, rows(), journal=asker.folder, **given)

    record = (asker.folder / "runs").glob("*.json").__next__().read_text(encoding="utf-8")
    assert not any(text in record for text in plain()["text"])
    with pytest.raises(ConfigurationError, match="examples are the frame 'examples', and a record"):
        again()
    with pytest.raises(ConfigurationError, match="the frame 'examples' would show other examples"):
        again(plain().assign(response="b"))
    run = again(plain())
    run.execute()
    assert run.counts.answered == 30
    assert max(asker.server.ledger.by_prompt().values()) == 1


def test_a_retry_shows_what_the_run_has_shown(home: Path) -> None:
    refused = rows()["text"][4]

    def plan(body: Any, attempt: int) -> str | None:
        return "refusal" if prompt_of(body).endswith(refused) and attempt == 1 else None

    with MessagesServer(plan=plan) as server:
        run = Asker(server, home).run(rows(), examples=plain(), shots=3)
        assert run.counts.failed == 1

        async def retry() -> Run:
            again = run.retry_failed()
            await again
            return again

        again = asyncio.run(retry())
        assert again.frame["response"][4] == echo_of(run.pipeline.head + refused)


# -- what is refused


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"shots": 4}, "--shots is 4, and there are no examples: give --examples NAME, or leave"),
        ({"examples_by": "nearest"}, "--examples-by is nearest, and there are no examples"),
        ({"examples": plain(), "shots": 0}, "--shots is 0: it has to be a whole number of 1 or"),
        ({"examples": plain(), "shots": 101}, "--shots is 101: it has to be 100 examples or fewer"),
        ({"examples": plain(), "examples_by": "most"}, "has to be one of stratified, nearest"),
        (
            {"examples": plain(), "pack": 4, "examples_by": "nearest"},
            "go together: leave one of",
        ),
        ({"examples": "nobody"}, "--examples nobody is neither a label set nor a frame"),
        ({"examples": plain(3), "shots": 4}, "--shots is 4, and examples has 3 labels"),
        (
            {"examples": plain(), "schema": SCHEMA},
            "no column 'mood', which answers have as",
        ),
    ],
)
def test_what_cant_be_meant_is_one_line_before_anything_is_sent(
    asker: Asker, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        asker.pipeline(rows(), **options)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert asker.server.arrived == 0


def test_without_examples_nothing_is_shown(asker: Asker) -> None:
    run = asker.run(rows(3))
    assert list(run.frame["response"]) == echoes(rows(3))
    assert run.pipeline.examples is None
