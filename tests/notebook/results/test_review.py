"""The review as a machine: what each key does to the queue, and what then lies on disk."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ondine_nb import Pipeline, Run
from ondine_nb.errors import ConfigurationError
from ondine_nb.evaluation import LabelSet, json_value
from ondine_nb.notebook.results.review import Review
from ondine_nb.notebook.results.review_form import FormError, FormField
from ondine_nb.prompts import Field
from tests.server import MessagesServer
from tests.server.answers import prompt_of

SCHEMA = "mood: good|bad|mixed, refund: bool?, topic: str, confidence: float"
ROWS = 12


def answer(body: Any) -> str:
    at = int(prompt_of(body).split()[-1])
    said = {"mood": ("good", "bad", "mixed")[at % 3], "refund": None if at == 1 else at % 2 == 0}
    return json.dumps({**said, "topic": f"topic {at}", "confidence": (at * 5 % ROWS) / ROWS})


@pytest.fixture
def server() -> Iterator[MessagesServer]:
    with MessagesServer(answer=answer) as running:
        yield running


@pytest.fixture
def ran(server: MessagesServer, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Run]:
    """Runs the frame to its end, as often as one likes: the journal answers from then on."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-of-the-tests")

    def ran(order: Sequence[int] = range(ROWS), **options: Any) -> Run:
        data = pd.DataFrame({"text": [f"Row {at}" for at in order], "n": list(order)})
        given = {"prompt": "Judge: {text}", "schema": SCHEMA, "base_url": server.url, **options}
        pipeline = Pipeline(data, name="judged", **given)

        async def whole() -> Run:
            run = pipeline.start()
            await run
            return run

        return asyncio.run(whole())

    return ran


def held(review: Review) -> dict[str, Any]:
    """What the form holds before anything is entered: the model's answer."""
    values = review.state()["row"]["values"]
    return {name: each["held"] for name, each in values.items()}


def accept(review: Review, note: str = "", **changed: Any) -> dict[str, Any]:
    position = review.position
    assert position is not None
    return review.accept(position, {**held(review), **changed}, note)


def stored(run: Run) -> list[Any]:
    return LabelSet(run.name, run.pipeline.journal.folder).labels


# --- what is accepted ----------------------------------------------------------------------------


def test_the_model_s_answer_is_preselected_and_enter_alone_keeps_it(
    ran: Callable[..., Run],
) -> None:
    run = ran()
    review = Review(run, reviewer="ana")
    assert review.position == 0  # the least sure one
    row = review.state()["row"]
    assert row["values"]["mood"] == {"held": 0, "model": 0, "by": "model", "answered": True}
    assert row["values"]["topic"]["held"] == "topic 0"
    accept(review)
    (label,) = stored(run)
    assert dict(label.fields) == {"mood": "good", "refund": True, "topic": "topic 0"}
    assert (label.reviewer, label.draw.queue, dict(label.key)) == (
        "ana", "least sure", {"text": "Row 0"},
    )  # fmt: skip
    assert review.position == 5


def test_a_choice_a_text_and_a_note_are_kept_as_entered(ran: Callable[..., Run]) -> None:
    run = ran()
    review = Review(run)
    accept(review, "  why?  ", mood=2, topic="another", refund=2)
    (label,) = stored(run)
    assert dict(label.fields) == {"mood": "mixed", "refund": None, "topic": "another"}
    assert label.note == "why?"
    (last,) = review.state()["last"]
    assert [each["field"] for each in last["changed"]] == ["mood", "refund", "topic"]
    assert last["changed"][1]["to"] == "no value"


def test_what_is_no_value_is_told_and_not_kept(ran: Callable[..., Run]) -> None:
    run = ran(schema="mood: good|bad|mixed, count: int?, when: date?")
    review = Review(run)
    for field, text in (("count", "many"), ("when", "yesterday")):
        before = review.position
        wrong = accept(review, **{"mood": 0, field: text})["wrong"]
        assert wrong["field"] == field
        assert repr(text) in wrong["text"]
        assert (stored(run), review.position) == ([], before)


def test_failed_rows_have_a_queue_and_take_an_answer_by_hand(
    ran: Callable[..., Run], server: MessagesServer
) -> None:
    run = ran(
        schema="mood: good|never, topic: str"
    )  # what the server says of mood is often neither
    failed = [row.position for row in run.plan.rowset.rows if row.status == "failed"]
    assert failed
    review = Review(run, queue="failed")
    assert review.state()["total"] == len(failed)
    assert review.state()["row"]["error"]
    assert "nothing is chosen" in accept(review)["wrong"]["text"]
    accept(review, mood=1)
    (label,) = stored(run)
    assert dict(label.fields) == {"mood": "never"}  # of the other field nothing was said


# --- moving --------------------------------------------------------------------------------------


def test_next_and_previous_keep_nothing_and_stop_at_the_ends(ran: Callable[..., Run]) -> None:
    run = ran()
    review = Review(run)
    for _ in range(ROWS + 3):
        review.move(1)
    assert review.state()["at"] == ROWS - 1
    for _ in range(ROWS + 3):
        review.move(-1)
    assert (review.state()["at"], stored(run)) == (0, [])


def test_a_skipped_row_isn_t_kept_and_doesn_t_come_back(ran: Callable[..., Run]) -> None:
    run = ran()
    review = Review(run)
    seen = [review.position]
    while review.position is not None:
        review.skip() if len(seen) % 2 else accept(review)
        seen.append(review.position)
    assert sorted(seen[:-1]) == list(range(ROWS))
    assert len(stored(run)) == ROWS // 2


def test_undo_takes_the_last_label_back_and_shows_its_row(ran: Callable[..., Run]) -> None:
    run = ran()
    review = Review(run)
    accept(review, mood=1)
    accept(review)
    review.undo()
    assert len(stored(run)) == 1
    review.undo()
    assert (stored(run), review.position) == ([], 0)
    assert "nothing to undo" in review.undo()["wrong"]["text"]


def test_undo_is_for_one_s_own_labels(ran: Callable[..., Run]) -> None:
    run = ran()
    accept(Review(run, reviewer="ana"))
    assert "wrong" in Review(run, reviewer="ben").undo()
    assert [label.reviewer for label in stored(run)] == ["ana"]


# --- found again ---------------------------------------------------------------------------------


def test_labels_are_found_after_another_run_over_other_rows_in_another_order(
    ran: Callable[..., Run], server: MessagesServer
) -> None:
    review = Review(ran())
    for _ in range(5):
        accept(review, mood=1)
    sent = server.arrived
    again = Review(ran([20, 21, *reversed(range(ROWS))]))
    server.wait_idle()
    assert server.arrived == sent + 2  # the two rows that are new
    state = again.state()
    assert (state["done"], state["total"]) == (5, ROWS + 2)
    assert again.position not in again._reviewed()


def test_a_prompt_that_changed_finds_them_too_and_another_name_doesn_t(
    ran: Callable[..., Run],
) -> None:
    accept(Review(ran()), mood=1)
    assert Review(ran(prompt="Judge this: {text}")).state()["done"] == 1
    other = ran()
    other.name = "another"
    assert Review(other).state()["done"] == 0


def test_a_row_s_label_shows_with_its_reviewer_when_one_comes_back_to_it(
    ran: Callable[..., Run],
) -> None:
    review = Review(ran(), reviewer="ana")
    accept(review, mood=2)
    review.move(-1)
    value = review.state()["row"]["values"]["mood"]
    assert value == {"held": 2, "model": 0, "by": "ana", "answered": True}


def test_rows_are_known_by_the_columns_that_one_names(ran: Callable[..., Run]) -> None:
    run = ran()
    accept(Review(run, on=["n"]))
    assert dict(stored(run)[0].key) == {"n": "0"}


# --- queues --------------------------------------------------------------------------------------


def test_random_and_one_of_each_measure_the_run_and_the_others_say_that_they_don_t(
    ran: Callable[..., Run],
) -> None:
    run = ran()
    measured = {name: Review(run, queue=name).state()["measures"] for name in (
        "least sure", "random", "one of each mood",
    )}  # fmt: skip
    assert measured == {"least sure": False, "random": True, "one of each mood": True}
    review = Review(run, queue="one of each mood")
    drawn = [review.results.rows[it.position] for it in review.queues.rows("one of each mood")[:3]]
    assert {row.outputs["mood"] for row in drawn if row} == {"good", "bad", "mixed"}


def test_rows_that_one_names_are_the_whole_review(ran: Callable[..., Run]) -> None:
    review = Review(ran(), rows=[7, 3, 3])
    assert [it.position for it in review.queues.rows("chosen")] == [3, 7]
    assert not review.state()["measures"]
    assert review.state()["queues"][0]["words"] == "these 2"


def test_two_runs_that_differ_have_a_queue(ran: Callable[..., Run], server: MessagesServer) -> None:
    one, other = ran(), ran()
    other.plan.rowset.rows[4].outputs["mood"] = "never"
    review = Review(one, other=other, queue="differ")
    assert [it.position for it in review.queues.rows("differ")] == [4]
    with pytest.raises(ConfigurationError, match=r"12 rows and `judged` 3"):
        Review(ran(range(3)), other=other, queue="differ")


def test_what_isn_t_there_is_named(ran: Callable[..., Run]) -> None:
    run = ran()
    with pytest.raises(ConfigurationError, match="has no queue 'worst': it has least sure"):
        Review(run, queue="worst")
    with pytest.raises(ConfigurationError, match=r"no numeric field 'confidance'.*'confidence'"):
        Review(run, confidence="confidance")
    with pytest.raises(ConfigurationError, match=r"no column 'txt'.*'text'"):
        Review(run, on=["txt"])


# --- without a browser ---------------------------------------------------------------------------


def test_saved_and_in_a_terminal_it_says_how_far_it_is_and_how_right(
    ran: Callable[..., Run],
) -> None:
    review = Review(ran(), reviewer="<i>ana</i>")
    accept(review, "<script>1</script>", mood=1, topic="<b>new</b>")
    for text in (review.static(), review.plain()):
        assert "1 of 12 reviewed (least sure first)" in text
        assert "0.00" in text
    assert "<b>new" not in review.static()
    assert "<script" not in review.static()


# --- the form ------------------------------------------------------------------------------------

VALUES = {
    "str": st.text(min_size=1).filter(str.strip),
    "int": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(allow_nan=False, allow_infinity=False),
    "date": st.dates(),
    "datetime": st.datetimes(),
    "list[int]": st.lists(st.integers(-(2**63), 2**63 - 1)),
    "list[float]": st.lists(st.floats(allow_nan=False, allow_infinity=False)),
    "json": st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=20
    ),
}


@pytest.mark.parametrize("kind", VALUES)
@given(data=st.data())
def test_what_a_control_shows_of_a_value_is_read_as_that_value(kind: str, data: Any) -> None:
    field = FormField(Field("it", kind, optional=True))
    value = data.draw(VALUES[kind])
    assert field.value(field.shown(value)) == json_value(value)


@given(text=st.text())
def test_whatever_is_typed_is_a_value_or_a_named_error(text: str) -> None:
    for kind in ("str", "int", "float", "date", "datetime", "list[int]", "list[bool]", "json"):
        field = FormField(Field("it", kind))
        with contextlib.suppress(FormError):  # which names the field, by its form
            json.dumps(field.value(text), allow_nan=False)


def test_what_is_no_value_is_an_error_that_names_field_text_and_kind() -> None:
    wrong = [("int", "1.5"), ("float", "inf"), ("date", "soon"), ("list[bool]", "maybe")]
    for kind, text in (
        *wrong,
        ("json", "[NaN]"),
        ("json", "1e999"),
        ("int", "9" * 30),
        ("date", "5"),
    ):
        with pytest.raises(FormError, match=re.escape(f"it: '{text}' is no ")) as told:
            FormField(Field("it", kind)).value(text)
        assert told.value.field == "it"


def test_a_choice_that_isn_t_there_is_refused() -> None:
    field = FormField(Field("mood", "choice", ("good", "bad")))
    for held in (2, -1, True, "good", None):
        with pytest.raises(FormError, match="choose one of good, bad"):
            field.value(held)
