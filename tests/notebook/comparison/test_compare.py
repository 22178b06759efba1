"""`ondine_nb.compare`: of runs by each kind of labels, of frames, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

import ondine_nb
from ondine_nb import Run
from ondine_nb.errors import ColumnError, ConfigurationError
from ondine_nb.evaluation import LabelSet
from tests.asking import Asker
from tests.server import MessagesServer
from tests.server.answers import prompt_of

from .two_runs import GOLD, tickets, two_runs


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Run, Run]:
    return two_runs(tmp_path)


def gold(kind: str, run: Run) -> Any:
    known = {"column": "gold", "series": tickets(40)["gold"].rename("urgency")}
    known["frame"] = tickets(40)[["subject", "gold"]].rename(columns={"gold": "urgency"})
    return known[kind]


@pytest.mark.parametrize("kind", ["column", "series", "frame"])
def test_labels_are_given_as_to_score_and_score_alike(kind: str, runs: tuple[Run, Run]) -> None:
    found = ondine_nb.compare(*runs, field="urgency", labels=gold(kind, runs[0]))
    for run, scores in zip(runs, found.comparison.scores, strict=True):
        wanted: Any = run.score("urgency", labels="gold")
        assert (scores.n, scores.accuracy, scores.interval) == (
            wanted.n,
            wanted.accuracy,
            wanted.interval,
        )
        assert scores.matrix == wanted.matrix
    assert found.test.n == 40
    assert len(found.frame) == 40


def test_labels_of_review_of_either_run_count_the_last_one_of_a_row(
    runs: tuple[Run, Run], tmp_path: Path
) -> None:
    def say(name: str, at: int, value: str) -> None:
        row = tickets(40).loc[at, ["subject", "body"]].to_dict()
        LabelSet(name, tmp_path).add(row, {"urgency": value})

    say("v3", 0, "low")
    say("v4", 1, "high")
    say("v3", 2, "low")
    say("v4", 2, "medium")
    found = ondine_nb.compare(*runs).comparison
    assert found.field.name == "urgency"
    assert [row.label for row in found.rows[:4]] == ["low", "high", "medium", None]
    assert found.labelled == 3


def test_a_label_given_by_a_key_is_kept_and_the_figures_follow(
    runs: tuple[Run, Run], tmp_path: Path
) -> None:
    view = ondine_nb.compare(*runs)
    assert view.test.n == 0
    told = view.actions["label"](at=3, which=["low", "medium", "high"].index(GOLD(3)))
    assert (told["labelled"], view.test.n) == (1, 1)
    (label,) = LabelSet("v4", tmp_path).labels
    assert label.fields == {"urgency": GOLD(3)}
    assert ondine_nb.compare(*runs).test.n == 1


def test_labels_that_were_given_cant_be_changed_by_keys(runs: tuple[Run, Run]) -> None:
    view = ondine_nb.compare(*runs, field="urgency", labels="gold")
    assert view.state()["choices"] == []
    with pytest.raises(ValueError, match="labels can't be given here"):
        view.actions["label"](at=3, which=0)


@pytest.fixture
def server() -> Iterator[MessagesServer]:
    def answer(body: Any) -> str:
        return "good" if "1" in prompt_of(body) else "bad"

    with MessagesServer(answer=answer) as running:
        yield running


def test_runs_that_were_really_sent_are_compared_by_content(
    server: MessagesServer, tmp_path: Path
) -> None:
    data = pd.DataFrame({"text": [f"text {at}" for at in range(12)]})
    asker = Asker(server, tmp_path)
    one = Run(asker.pipeline(data, "Rate {text}", journal=tmp_path), name="one")
    two = Run(asker.pipeline(data[::-1].iloc[:10], "Judge {text}", journal=tmp_path), name="two")
    one.execute()
    two.execute()
    sent = server.arrived
    found = ondine_nb.compare(one, two).comparison
    assert (len(found.rows), found.only) == (10, (2, 0))
    assert str(found.agreement) == "10 of 10 the same"
    assert [str(change) for change in found.changes][:1] == ["− “Rate” + “Judge”"]
    assert server.arrived == sent


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_frames_of_one_length_have_the_same_rows_and_differ_in_their_answers(kind: str) -> None:
    one = {"text": ["a", "b", "c"], "gold": ["x", "y", "x"], "mood": ["x", "x", "x"]}
    two = {**one, "mood": ["x", "y", "y"]}
    make: Any = pd.DataFrame if kind == "pandas" else pl.DataFrame
    found = ondine_nb.compare(make(one), make(two), labels="gold")
    assert [row.state for row in found.comparison.rows] == ["right", "fixed", "broke"]
    assert found.test.n == 3
    by_series = ondine_nb.compare(make(one), make(two), "mood", labels=make(one)["gold"])
    assert by_series.test == found.test


def test_frames_of_other_lengths_are_joined_by_what_else_both_have() -> None:
    one = pd.DataFrame({"text": ["a", "b", "c"], "mood": ["x", "x", "x"]})
    two = one[::-1].iloc[:2].assign(mood=["y", "x"])
    with pytest.raises(ColumnError, match="say which column holds the answers, field='mood'"):
        ondine_nb.compare(one, two)
    found = ondine_nb.compare(one, two, "mood").comparison
    assert (found.only, [row.state for row in found.rows]) == ((1, 0), ["same", "differ"])


def test_what_cant_be_compared_is_refused_in_a_line(runs: tuple[Run, Run]) -> None:
    frame = pd.DataFrame({"text": ["a"]})
    with pytest.raises(ConfigurationError, match="two runs, or two frames, not Run and DataFrame"):
        ondine_nb.compare(runs[0], frame)
    with pytest.raises(ColumnError, match="hold the same in every column"):
        ondine_nb.compare(frame, frame)
    with pytest.raises(ColumnError, match="did you mean 'text'"):
        ondine_nb.compare(frame, frame, "tex")
    with pytest.raises(ColumnError, match="no field 'urgent': did you mean 'urgency'"):
        ondine_nb.compare(*runs, field="urgent", labels="gold")


def test_rows_that_either_was_shown_as_examples_are_compared_and_not_scored(
    server: MessagesServer, tmp_path: Path
) -> None:
    data = pd.DataFrame({"text": [f"the {at}th text is its own" for at in range(12)]})
    data["gold"] = ["good" if "1" in text else "bad" for text in data["text"]]
    shown = data.head(3).rename(columns={"gold": "response"})
    asker = Asker(server, tmp_path)
    prompt = "Rate {text}"
    one = Run(asker.pipeline(data, prompt, journal=tmp_path), name="one")
    few = asker.pipeline(data, prompt, journal=tmp_path, examples=shown, shots=3)
    two = Run(few, name="two")
    one.execute()
    two.execute()
    found = ondine_nb.compare(one, two, labels="gold").comparison
    scores = two.score(labels="gold")
    assert len(found.rows) == 12
    assert found.labelled == len(found.rows) - len(found.served) == scores.n  # type: ignore[union-attr]
    assert {row.at for row in found.rows if row.label is None} >= {0, 1, 2}
    assert f"{len(found.served)} rows shown as examples, not scored" in repr(found)
