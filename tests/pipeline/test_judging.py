"""A run's labels, corrected result and scores: by content, in either library, and after re-runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
from sklearn import metrics

import ondine_nb
from ondine_nb import Run
from ondine_nb.errors import ColumnError, ConfigurationError, RunError
from ondine_nb.evaluation import Draw, LabelSet, Scores, at_random
from ondine_nb.pipeline import JudgedRun
from tests.asking import Asker
from tests.server import MessagesServer

SCHEMA = "mood: glad|sad|calm, score: int"
MOODS = ["glad", "sad", "calm"]


def answered(body: Any) -> str:
    """By the number in the text: mood by its rest of 3, the score itself."""
    number = int(body["messages"][0]["content"].rpartition(" ")[2])
    return json.dumps({"mood": MOODS[number % 3], "score": number})


@pytest.fixture
def asker(tmp_path: Path) -> Iterator[Asker]:
    def plan(body: Any, _: int) -> str | None:
        return "refusal" if body["messages"][0]["content"].endswith(" 7") else None

    with MessagesServer(answer=answered, plan=plan) as server:
        asker = Asker(server, tmp_path)
        yield asker
        asker.end_process()


def rows(n: int = 9) -> dict[str, list[Any]]:
    truth = [MOODS[(at + (at == 2)) % 3] for at in range(n)]
    return {"text": [f"text {at}" for at in range(n)], "truth": truth, "id": list(range(n))}


@pytest.fixture(params=[pd.DataFrame, pl.DataFrame])
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


def run_of(asker: Asker, data: Any, prompt: str = "Tell: {text}", **options: Any) -> Run:
    return asker.run(data, prompt, schema=SCHEMA, name="labeled", **options)


def say(run: Run, position: int, reviewer: str = "ann", **fields: Any) -> None:
    JudgedRun(run).rows.add(position, fields, reviewer=reviewer)


def scored(found: Any) -> Scores:
    assert isinstance(found, Scores)
    return found


# --- labels


def test_labels_are_a_frame_of_the_runs_kind_with_its_types(asker: Asker, kind: Any) -> None:
    run = run_of(asker, kind(rows()))
    assert list(run.labels.columns) == ["text", "mood", "score", "note", "reviewer", "at"]
    assert len(run.labels) == 0
    say(run, 3, mood="sad", score=4)
    labels = run.labels
    assert isinstance(labels, kind)
    assert list(labels["text"]) == ["text 3"]
    assert list(labels["mood"]) == ["sad"]
    assert list(labels["reviewer"]) == ["ann"]
    assert str(labels["score"].dtype) == "Int64"


def test_labels_last_over_reruns_new_prompts_and_other_frames(asker: Asker) -> None:
    say(run_of(asker, pd.DataFrame(rows())), 3, mood="sad")
    asker.end_process()
    later = pd.DataFrame(rows(12)).iloc[::-1]
    run = run_of(asker, later, "Which mood, {id}: {text}")
    assert run.corrected["mood"].iloc[8] == "sad"
    assert list(run.labels["text"].dropna()) == ["text 3"]


def test_the_labels_of_another_run_over_the_same_texts_are_others(asker: Asker) -> None:
    say(run_of(asker, pd.DataFrame(rows())), 3, mood="sad")
    other = asker.run(pd.DataFrame(rows()), schema=SCHEMA, name="other")
    assert len(other.labels) == 0


def test_labels_can_be_known_by_other_columns_than_the_prompts(asker: Asker) -> None:
    run = run_of(asker, pd.DataFrame(rows()))
    judged = JudgedRun(run, on="id")
    judged.rows.add(3, {"mood": "sad"})
    assert list(run.labels["id"]) == ["3"]
    with pytest.raises(ColumnError, match="did you mean 'id'"):
        JudgedRun(run, on=["ids"])


# --- the corrected result


def test_the_corrected_result_has_the_labels_and_who_said_so(asker: Asker, kind: Any) -> None:
    run = run_of(asker, kind(rows()))
    say(run, 0, mood="calm")
    say(run, 0, reviewer="bo", score=99)
    say(run, 7, mood="sad")
    found = run.corrected
    assert isinstance(found, kind)
    assert list(found.columns) == [
        "text", "truth", "id", "mood", "score", "mood_source", "score_source",
    ]  # fmt: skip
    assert list(found["mood"])[:2] == ["calm", "sad"]
    assert list(found["mood"])[7] == "sad"
    assert list(found["score"])[:2] == [99, 1]
    sources = list(found["mood_source"])
    assert sources[:2] == ["ann", "model"]
    assert sources[7] == "ann"
    assert list(found["score_source"])[:2] == ["bo", "model"]
    assert pd.isna(list(found["score_source"])[7])
    assert list(run.frame["mood"])[:2] == ["glad", "sad"]


def test_a_label_that_is_no_choice_widens_the_column_and_one_of_no_type_is_told(
    asker: Asker, caplog: pytest.LogCaptureFixture
) -> None:
    run = run_of(asker, pd.DataFrame(rows()))
    say(run, 0, mood="angry", score="many")
    found = run.corrected
    assert found["mood"].iloc[0] == "angry"
    assert found["score"].iloc[0] == 0
    assert "labeled row 0: the label of score by ann is left out: 'many' is no int" in caplog.text


def test_a_column_that_is_there_isnt_covered_by_a_source(asker: Asker) -> None:
    run = run_of(asker, pd.DataFrame({**rows(), "mood_source": "me"}))
    with pytest.raises(ColumnError, match="'mood_source' already: rename it"):
        _ = run.corrected


def test_plain_text_answers_can_be_corrected_too(asker: Asker) -> None:
    run = asker.run(pd.DataFrame(rows(3)), name="plain")
    say(run, 1, response="other")
    assert run.corrected["response_source"].tolist() == ["model", "ann", "model"]


# --- scores


def test_a_column_of_the_frame_is_scored_against_as_labels(asker: Asker, kind: Any) -> None:
    data = kind(rows())
    run = run_of(asker, data)
    by_name = scored(run.score("mood", labels="truth"))
    by_series = scored(run.score("mood", labels=data["truth"]))
    by_list = scored(run.score("mood", labels=list(data["truth"])))
    by_frame = scored(run.score(labels=kind({"text": rows()["text"], "mood": rows()["truth"]})))
    done = [at for at in range(9) if at != 7]
    truths = [rows()["truth"][at] for at in done]
    answers = [list(run.frame["mood"])[at] for at in done]
    for found in (by_name, by_series, by_list, by_frame):
        assert (found.n, found.unanswered) == (8, 1)
        assert found.accuracy == pytest.approx(metrics.accuracy_score(truths, answers))
        assert found.kappa == pytest.approx(metrics.cohen_kappa_score(truths, answers))
    assert by_name.scope == "9 of 9 rows are labelled, by the column 'truth'"
    assert "1 labelled row has no answer" in repr(by_name)


def test_a_series_is_matched_by_index_and_a_frame_by_content(asker: Asker) -> None:
    data = pd.DataFrame(rows()).set_index(pd.Index(range(100, 109)))
    run = run_of(asker, data)
    some = data["truth"].iloc[[5, 2]]
    found = scored(run.score("mood", labels=some))
    assert (found.n, found.accuracy) == (2, 0.5)
    partly = pd.DataFrame(
        {"text": ["text 5", "text 2", "elsewhere"], "mood": ["calm", "sad", "sad"]}
    )
    found = scored(run.score(labels=partly))
    assert (found.n, found.accuracy) == (2, 0.5)
    no_key = pd.DataFrame({"mood": ["calm"]}, index=[105])
    assert scored(run.score(labels=no_key)).accuracy == 1.0


def test_rows_that_the_labels_leave_out_arent_scored(asker: Asker) -> None:
    data = pd.DataFrame({**rows(), "some": [None, "sad", "calm", *[None] * 6]})
    found = scored(run_of(asker, data).score("mood", labels="some"))
    assert (found.n, found.accuracy) == (2, 1.0)


def test_reviewed_rows_are_scored_by_field_and_alone_where_one_is_asked_for(asker: Asker) -> None:
    run = run_of(asker, pd.DataFrame(rows()))
    say(run, 0, mood="glad", score=2)
    say(run, 1, mood="calm")
    found = run.score()
    assert isinstance(found, dict)
    assert {name: it.n for name, it in found.items()} == {"mood": 2, "score": 1}
    assert scored(run.score("mood")).accuracy == 0.5
    assert scored(run.score("score")).mae == 2.0


def test_an_undone_label_doesnt_count(asker: Asker) -> None:
    run = run_of(asker, pd.DataFrame(rows()))
    judged = JudgedRun(run)
    judged.rows.undo(judged.rows.add(0, {"mood": "sad"}))
    with pytest.raises(
        ColumnError, match=r"nothing is labelled yet in the rows of labeled\. Review"
    ):
        run.score()


def test_a_label_of_a_text_that_stands_in_many_rows_counts_once(asker: Asker) -> None:
    run = run_of(asker, pd.DataFrame({"text": ["text 1"] * 50 + ["text 2"]}))
    say(run, 0, mood="sad")
    say(run, 50, mood="sad")
    assert (scored(run.score()).n, scored(run.score()).accuracy) == (2, 0.5)


def test_rows_that_chance_drew_give_an_estimate_over_all(asker: Asker) -> None:
    run = run_of(asker, pd.DataFrame(rows(30)))
    judged = JudgedRun(run)
    for drawn in at_random(30, seed=1)[:6]:
        mood = judged.answers["mood"][drawn.position] or "glad"
        judged.rows.add(drawn.position, {"mood": mood}, draw=drawn.draw)
    judged.rows.add(0, {"score": 0}, draw=Draw("least sure"))
    found = run.score()
    assert isinstance(found, dict)
    assert found["mood"].accuracy == 1.0
    assert "30 rows that these were drawn from by chance (random)" in found["mood"].scope
    assert "least sure" in found["score"].scope


def test_labels_that_dont_fit_are_told_not_hidden(asker: Asker) -> None:
    data = pd.DataFrame({**rows(), "typed": ["Glad", "sad", *["?"] * 7], "n": ["x", 1, *[2] * 7]})
    run = run_of(asker, data)
    found = scored(run.score("mood", labels="typed"))
    assert found.notes == ("Labels that are none of the schema's choices: 'Glad' (1), '?' (7)",)
    found = scored(run.score("score", labels="n"))
    assert found.notes[0].startswith("Not of the field's type, so left out: 'x' is no int")


@pytest.mark.parametrize(
    ("field", "labels", "says"),
    [
        ("mod", "truth", "labeled has no field 'mod': did you mean 'mood'"),
        ("mood", "trth", "has no column 'trth' to take as labels: did you mean 'truth'"),
        (None, "truth", "which field has its labels in 'truth'"),
        ("mood", ["glad"], "has 1 values, and labeled has 9 rows"),
        ("mood", 7, "labels is a int"),
        ("mood", pd.DataFrame({"text": ["x"]}), "the frame of labels has no column 'mood'"),
        ("mood", pd.DataFrame({"text": ["x"], "mood": ["sad"]}), "no row of labeled has a label"),
        ("mood", None, "no 'mood' is labelled yet"),
    ],
)
def test_what_cant_be_scored_is_one_line_with_the_remedy(
    asker: Asker, field: str | None, labels: Any, says: str
) -> None:
    run = run_of(asker, pd.DataFrame(rows()))
    say(run, 0, score=1)
    with pytest.raises(ConfigurationError) as caught:
        run.score(field, labels=labels)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_stream_that_stays_in_memory_is_judged_and_one_that_went_to_a_file_says_where(
    asker: Asker, tmp_path: Path
) -> None:
    lazy = pl.DataFrame(rows()).lazy()
    run = asker.run(lazy, schema=SCHEMA, name="streamed")
    say(run, 0, mood="sad")
    assert scored(run.score()).accuracy == 0.0
    assert run.corrected["mood"][0] == "sad"
    away = asker.run(lazy, schema=SCHEMA, name="away", to=str(tmp_path / "out.csv"))
    with pytest.raises(RunError, match=r"they went to .*out\.csv: read them"):
        away.score("mood", labels="truth")


# --- `ondine_nb.labels`


def test_labels_of_a_set_of_a_frames_rows_and_taken_in(asker: Asker) -> None:
    run = run_of(asker, pd.DataFrame(rows()))
    given = pd.DataFrame({"text": ["text 1", "text 2"], "mood": ["sad", "glad"]})
    folder = {"journal": asker.folder}
    with pytest.raises(ConfigurationError, match="say which columns these are known by"):
        ondine_nb.labels(given, into="labeled", **folder)
    first = ondine_nb.labels(given, into="labeled", on="text", reviewer="ann", **folder)
    again = ondine_nb.labels(given, into="labeled", reviewer="ann", **folder)
    assert len(first) == len(again) == len(LabelSet("labeled", asker.folder).labels) == 2
    assert ondine_nb.labels("labeled", **folder)["mood"].tolist() == ["sad", "glad"]
    assert scored(run.score()).accuracy == 0.5
    of_rows = ondine_nb.labels(pl.DataFrame({"text": ["text 2"]}), **folder)
    assert isinstance(of_rows, pl.DataFrame)
    assert of_rows.select("set", "text", "mood", "reviewer").rows() == [
        ("labeled", "text 2", "glad", "ann")
    ]
    ondine_nb.labels(given, into="labeled", reviewer="ann", drawn_from=9, **folder)
    assert "9 rows that these were drawn from by chance" in scored(run.score()).scope
    with pytest.raises(ConfigurationError, match="did you mean 'labeled'"):
        ondine_nb.labels("labelled", **folder)
