"""Evidence in the views: the places of quotes in the texts as they are shown, filters, a queue."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ondine_nb import Run
from ondine_nb.errors import ConfigurationError
from ondine_nb.notebook.results import Review
from ondine_nb.notebook.results.query import Condition, Query, Selection, plotted
from ondine_nb.notebook.results.row import detail_of
from ondine_nb.notebook.results.table import Results
from ondine_nb.notebook.results.view import ResultsView
from ondine_nb.notebook.ui import RowEvidence
from tests.notebook.results.evidence_run import LONG, TEXTS, ContractServer, evidence_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder: Path = tmp_path_factory.mktemp("evidence")
    with ContractServer() as server:
        made = evidence_run(server, folder)
        assert made.error is None
        yield made
        made.pipeline.journal.close()


def cut(text: str, start: int, end: int) -> str:
    """What a browser has from `start` to `end`."""
    return text.encode("utf-16-le")[2 * start : 2 * end].decode("utf-16-le")


def test_each_quote_is_marked_where_it_stands_also_behind_an_emoji_and_far_down(run: Run) -> None:
    for at, expected in ((0, "three months’ notice"), (2, "Notice: one week")):
        detail = detail_of(Results(run), at)
        (text,) = [text for name, text in detail.texts if name == "text"]
        marks = detail.marks["text"]
        marked = {mark["field"]: cut(text, mark["start"], mark["end"]) for mark in marks}
        assert marked["notice"] == expected
        assert set(marked) == {"total", "notice", "law", "parties"}
    assert len(text) < len(TEXTS[2]) - 10_000, "the long text isn't shown whole"
    assert "characters …" in text


def test_a_field_tells_its_quotes_and_how_they_match(run: Run) -> None:
    told = {it["field"]: it for it in detail_of(Results(run), 1).evidence}
    assert [it["sign"] for it in told.values()] == [1, 2, 3, 4]
    matches = {name: [quote["match"] for quote in it["quotes"]] for name, it in told.items()}
    assert matches == {
        "total": ["approximate"],
        "notice": ["approximate"],
        "law": ["missing"],
        "parties": ["exact", "missing"],
    }
    assert [quote["of"] for quote in told["parties"]["quotes"]] == ["Beck & Co.", "Roth"]
    assert told["total"]["quotes"][0]["text"] == "A total of 900 dollars is due", "as in the text"


@given(st.data())
def test_whatever_a_text_holds_its_marks_cut_out_what_was_quoted(data: st.DataObject) -> None:
    text = data.draw(st.text("ab\n🙂é\u202e\x1b ", min_size=1, max_size=80))
    spans = data.draw(
        st.lists(st.tuples(st.integers(0, len(text)), st.integers(0, len(text))), max_size=4)
    )
    places = tuple((low, high, {"field": "f"}) for low, high in map(sorted, spans))
    limit = data.draw(st.integers(1, 100))
    shown, marks = RowEvidence((), {"t": places}).text("t", text, limit)
    good = sorted((low, high) for low, high, _ in places if low < high)
    assert len(marks) == len(good)
    for (low, high), mark in zip(good, marks, strict=True):
        plain, _ = RowEvidence().text("t", text[low:high], high - low)
        assert cut(shown, mark["start"], mark["end"]) == plain


def test_results_have_one_plot_and_filter_of_how_evidence_matches(run: Run) -> None:
    results = Results(run)
    assert [head.name for head in plotted(results)] == [
        *("total", "notice", "law", "parties", "evidence"),
    ]
    assert results.values("evidence") == ["near", "missing", "exact"]
    doubtful = Query((Condition("evidence", ("approximate", "missing")),))
    assert Selection(results, doubtful).positions.tolist() == [1]
    shown = ResultsView(run)._first_names()
    assert shown == ["text", "total", "notice", "law", "parties"]
    assert {head.role for head in results.heads if "_evidence" in head.name} == {"evidence"}


def test_a_review_has_a_queue_of_rows_whose_evidence_is_in_doubt(run: Run) -> None:
    review = Review(run, queue="in doubt")
    assert [drawn.position for drawn in review.queues.rows("in doubt")] == [1]
    assert review.queues.names["in doubt"] == "evidence in doubt"
    assert not review.queues.measures("in doubt")
    row = review.state()["row"]
    assert [it["field"] for it in row["evidence"]] == ["total", "notice", "law", "parties"]
    (text,) = row["texts"]
    assert {mark["field"] for mark in text["marks"]} == {"total", "notice", "parties"}


def test_a_run_without_evidence_has_no_such_queue(tmp_path: Path) -> None:
    from tests.asking import Asker, texts
    from tests.server import MessagesServer

    with MessagesServer() as server:
        plain = Asker(server, tmp_path).run(texts(2))
    with pytest.raises(ConfigurationError, match="has no queue 'in doubt'"):
        Review(plain, queue="in doubt")
    assert "evidence" not in [head.name for head in Results(plain).heads]
    detail = detail_of(Results(plain), 0)
    assert (detail.evidence, detail.marks) == ((), {"text": []})


def test_scores_tell_how_right_answers_are_by_how_their_evidence_matches(run: Run) -> None:
    truth = pd.Series([12_400, 900, 77])
    scores = run.score("total", labels=truth)
    assert not isinstance(scores, dict)
    found = {word: (it.n, it.accuracy) for word, it in scores.by_match.items()}
    assert found == {"exact": (2, 1.0), "approximate": (1, 0.0)}
    assert "By how the evidence matches:" in repr(scores)
    assert "approximate" in scores._repr_html_()
    for low, high in (it.interval for it in scores.by_match.values()):
        assert 0 <= low < high <= 1
    tags = run.score("parties", labels=pd.Series([["Müller AG", "Hansen ApS"], ["x"], ["y"]]))
    assert not isinstance(tags, dict)
    assert {word: it.n for word, it in tags.by_match.items()} == {"exact": 2, "missing": 1}


def test_reviewed_rows_are_told_apart_by_match_too(run: Run) -> None:
    review = Review(run)
    for at, label in ((0, "12400"), (1, "900")):
        review.accept(at, {"total": label})
    scores = run.score("total")
    assert not isinstance(scores, dict)
    assert {word: it.accuracy for word, it in scores.by_match.items()} == {
        "exact": 1.0,
        "approximate": 0.0,
    }


def test_the_long_text_is_longer_than_views_show() -> None:
    assert len(LONG) > 30_000
